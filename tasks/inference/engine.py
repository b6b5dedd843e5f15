"""The engine of an inference worker: one child process that many task threads submit to."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import structlog
from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from celery.worker.control import control_command
from sqlalchemy import select

from cyrex.adapters.base_model import base_model_dir, base_sha256, open_base
from cyrex.adapters.files import adapter_cache
from cyrex.agents.state import StepInput
from cyrex.chat.token_text import TokenText
from cyrex.chat.usage import Meter
from cyrex.engine import (
    AdapterRef,
    Cancelled,
    Completion,
    DeadlineExceeded,
    EngineClosed,
    EngineConfig,
    EngineError,
    QueueFull,
    Request,
    RequestRefused,
)
from cyrex.errors import UserError
from cyrex.jobs.requests import adapter_ref, request_of
from cyrex.serving import EngineProcess, EngineStartError
from cyrex.work.lease import GivenBack
from database.base import Json
from database.models import Job, LoraAdapter
from database.session import company_session
from helox.base import Base
from helox.render import ChatTemplate
from settings import SettingsError, get_settings
from tasks.broker.consumer import take_only_while
from tasks.broker.routing import direct_queue, live_workers
from tasks.inference.adapters import ENDED, AdapterWatch, Use
from tasks.inference.replies import Replies
from tasks.workers.presence import report_details

log = structlog.get_logger()

QUEUE = "inference"
CANCEL_POLL_SECONDS = 1.0
# The heartbeat asks what is resident, and must not be late for it.
RESIDENT_SECONDS = 0.5
# A worker that is told to stop lets what is under way end for so long, then gives it back.
DRAIN_SECONDS = 10.0
# A company that has filled its queue in the engine tries again about so much later.
QUEUE_FULL_SECONDS = 0.5
CHATTY_LOGGERS = ("celery.worker.strategy", "celery.app.trace")

_engine: EngineProcess | None = None
# Whether another worker's engine was ready at the last heartbeat.
_others = False
_template: ChatTemplate | None = None
_token_text: TokenText | None = None
_replies = Replies()
_meter = Meter()
_adapters = AdapterWatch()


def engine() -> EngineProcess:
    assert _engine is not None, "the engine runs in workers of the inference queue only"
    return _engine


def template() -> ChatTemplate:
    assert _template is not None, "the engine runs in workers of the inference queue only"
    return _template


def token_text() -> TokenText:
    """Read when somebody first asks for it: answers need it only with logprobs."""
    global _token_text
    if _token_text is None:
        _token_text = TokenText.load(base_model_dir())
    return _token_text


def replies() -> Replies:
    return _replies


def meter() -> Meter:
    return _meter


def adapters() -> AdapterWatch:
    return _adapters


def _config(base: Base) -> EngineConfig:
    settings = get_settings()
    return EngineConfig(
        base_model=str(base_model_dir().resolve()),
        revision=settings.base_model_revision,
        dtype=settings.engine_dtype,
        device=settings.engine_device,
        threads=settings.engine_threads,
        max_batch=settings.engine_batch,
        max_adapters=settings.engine_adapters,
        end_tokens=base.stop_ids,
    )


@worker_init.connect
def _start(sender: Any = None, **_kwargs: Any) -> None:
    global _engine, _template
    if QUEUE not in sender.app.amqp.queues.consume_from:
        return
    try:
        base = open_base()
        _template = base.template
        _engine = EngineProcess(
            _config(base),
            on_step=_replies.flush,
            place=f"{get_settings().work_dir.resolve()} {sender.hostname}",
            base_sha256=base_sha256(),
        )
        _engine.wait_ready()
    except (SettingsError, UserError, EngineStartError) as error:
        raise SystemExit(f"inference worker: {error}") from None
    # Two lines a task would be hundreds a second; failures are still told.
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A queue of this worker's own, for the companies whose adapters it holds.
    sender.app.amqp.queues.select_add(direct_queue(sender.hostname))
    _replies.start()
    _meter.start()
    _adapters.start()
    take_only_while(_can_take)
    report_details(partial(_details, sender.hostname))


@worker_shutting_down.connect
def _drain(**_kwargs: Any) -> None:
    """Tasks that wait for the engine end by this, however long their answers would be: jobs go
    back to their queue, conversations that have not begun are asked elsewhere."""
    if _engine is not None:
        drain = threading.Thread(target=_engine.close, args=(DRAIN_SECONDS,), name="drain")
        drain.start()


@worker_shutdown.connect
def _stop(**_kwargs: Any) -> None:
    if _engine is not None:
        _engine.close()
        _replies.stop()
        _meter.stop()
        _adapters.stop()


def _can_take() -> bool:
    """While its engine starts anew this worker leaves all work to those that can do it at once."""
    return engine().ready or not _others


def _details(node: str) -> Json:
    """Resident adapters and the engine's counters, for the worker's row."""
    global _others
    _others = any(other != node for other in live_workers.nodes())
    ready = engine().ready
    stats = engine().stats(RESIDENT_SECONDS) if ready else None
    return {
        "ready": ready,
        "engine_pid": engine().pid,
        "base_sha256": base_sha256(),
        "resident": [
            {"company_id": r.key.company, "adapter_id": r.key.adapter_id, "bytes": r.bytes}
            for r in (engine().resident(RESIDENT_SECONDS) if ready else ())
        ],
        "engine": asdict(stats) if stats is not None else None,
    }


def answer(job: Job, prepared: StepInput, should_stop: Callable[[], bool]) -> Completion | None:
    """Ask the engine with exactly the adapter that the job's row names; None: cancelled meanwhile.

    `should_stop` is asked every second. Raises `UserError` for what another try would not mend,
    an adapter that was retired meanwhile too, `GivenBack` when the worker is leaving, else what the
    engine raised.
    """
    adapter = _adapter_of(job)
    try:
        request = request_of(job, adapter, template(), prepared)
        with _adapters.using(adapter) as use:
            return _wait(request, use, should_stop)
    except EngineClosed as error:
        raise GivenBack(str(error)) from error
    except DeadlineExceeded as error:
        raise UserError("deadline_exceeded", str(error)) from error
    except RequestRefused as error:
        param = "data"
        if str(error).startswith("grammar"):
            param = "tools" if prepared.situation.tools else "choices"
        raise UserError("request_refused", str(error), param=param) from error


def _wait(request: Request, use: Use, should_stop: Callable[[], bool]) -> Completion | None:
    handle = engine().submit(request)
    use.on_refusal(handle.cancel)
    while True:
        try:
            return handle.result(CANCEL_POLL_SECONDS)
        except TimeoutError:
            if should_stop():
                handle.cancel()
                return None
        except Cancelled:
            if use.refusal is not None:
                raise use.refusal from None
            raise
        except QueueFull:
            # This thread waits, so the worker takes fewer jobs: that is the back-pressure.
            time.sleep(QUEUE_FULL_SECONDS * (0.5 + random.random()))
            if should_stop():
                return None
            handle = engine().submit(request)
            use.on_refusal(handle.cancel)


def _adapter_of(job: Job) -> AdapterRef | None:
    if job.adapter_id is None:
        return None
    return _adapters.ref_of(job.company_id, job.adapter_id, str(job.adapter_sha256))


def warm(adapter: LoraAdapter) -> bool:
    """Load an adapter into this worker's engine. False: it could not be, which is no failure."""
    try:
        return engine().warm(adapter_ref(adapter))
    except EngineError as error:
        log.warning("warm_failed", adapter_id=adapter.adapter_id, error=str(error))
        return False


@control_command(args=[("company_id", str), ("adapter_id", str)])
def warm_adapter(_state: Any, company_id: str, adapter_id: str) -> Json:
    """Broadcast to all workers: those with an engine load the adapter in the background."""
    if _engine is None:
        return {"ok": "no engine here"}

    def load() -> None:
        with company_session(company_id) as session:
            adapter = session.scalar(
                select(LoraAdapter).where(LoraAdapter.adapter_id == adapter_id)
            )
        if adapter is not None and adapter.sha256 is not None and adapter.status not in ENDED:
            warm(adapter)

    threading.Thread(target=load, name="warm", daemon=True).start()
    return {"ok": "loading"}


@control_command(args=[("sha256", str)])
def forget_package(_state: Any, sha256: str) -> Json:
    """Broadcast to all workers: those with an engine delete a package from this machine's cache."""
    if _engine is None:
        return {"ok": "no engine here"}
    threading.Thread(target=adapter_cache().delete, args=(sha256,), daemon=True).start()
    return {"ok": "deleting"}
