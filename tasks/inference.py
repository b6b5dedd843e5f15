"""The engine of an inference worker: one child process that many task threads submit to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery.signals import worker_init, worker_shutdown
from celery.worker.control import control_command
from sqlalchemy import select

from cyrex.agent_state import Prepared
from cyrex.base_model import base_model_dir, base_sha256
from cyrex.engine import (
    AdapterRef,
    Completion,
    DeadlineExceeded,
    EngineClosed,
    EngineConfig,
    EngineError,
    RequestRefused,
)
from cyrex.errors import UserError
from cyrex.lease import GivenBack
from cyrex.prompts import adapter_ref, request_of
from cyrex.serving import EngineProcess, EngineStartError
from database.base import Json
from database.models import Job, LoraAdapter
from database.session import company_session
from helox.render import ChatTemplate
from settings import SettingsError, get_settings
from tasks.worker import report_details

log = structlog.get_logger()

QUEUE = "inference"
CANCEL_POLL_SECONDS = 1.0
# The heartbeat asks what is resident, and must not be late for it.
RESIDENT_SECONDS = 0.5

_engine: EngineProcess | None = None
_template: ChatTemplate | None = None


def engine() -> EngineProcess:
    assert _engine is not None, "the engine runs in workers of the inference queue only"
    return _engine


def template() -> ChatTemplate:
    assert _template is not None, "the engine runs in workers of the inference queue only"
    return _template


def _config() -> EngineConfig:
    settings = get_settings()
    return EngineConfig(
        base_model=str(base_model_dir().resolve()),
        revision=settings.base_model_revision,
        dtype=settings.engine_dtype,
        device=settings.engine_device,
        threads=settings.engine_threads,
        max_batch=settings.engine_batch,
        max_adapters=settings.engine_adapters,
    )


@worker_init.connect
def _start(sender: Any = None, **_kwargs: Any) -> None:
    global _engine, _template
    if QUEUE not in sender.app.amqp.queues.consume_from:
        return
    try:
        _template = ChatTemplate.load(base_model_dir())
        base_sha256()
        _engine = EngineProcess(_config())
        _engine.wait_ready()
    except (SettingsError, UserError, EngineStartError) as error:
        raise SystemExit(f"inference worker: {error}") from None
    report_details(_details)


@worker_shutdown.connect
def _stop(**_kwargs: Any) -> None:
    if _engine is not None:
        _engine.close()


def _details() -> Json:
    """What is resident, for the worker's row."""
    return {
        "resident": [
            {"company_id": r.key.company, "adapter_id": r.key.adapter_id, "bytes": r.bytes}
            for r in engine().resident(RESIDENT_SECONDS)
        ]
    }


def answer(job: Job, prepared: Prepared, cancelled: Callable[[], bool]) -> Completion | None:
    """Ask the engine with exactly the adapter that the job's row names; None: cancelled meanwhile.

    `cancelled` is asked every second. Raises `UserError` for what another try would not mend,
    `GivenBack` when the worker is leaving, else what the engine raised.
    """
    try:
        handle = engine().submit(request_of(job, _adapter_of(job), template(), prepared))
        while True:
            try:
                return handle.result(CANCEL_POLL_SECONDS)
            except TimeoutError:
                if cancelled():
                    handle.cancel()
                    return None
    except EngineClosed as error:
        raise GivenBack(str(error)) from error
    except DeadlineExceeded as error:
        raise UserError("deadline_exceeded", str(error)) from error
    except RequestRefused as error:
        param = "tools" if str(error).startswith("grammar") else "data"
        raise UserError("request_refused", str(error), param=param) from error


def _adapter_of(job: Job) -> AdapterRef | None:
    if job.adapter_id is None:
        return None
    with company_session(job.company_id) as session:
        adapter = session.get_one(LoraAdapter, job.adapter_id)
    if adapter.sha256 != job.adapter_sha256:
        raise UserError("adapter_changed", f"adapter {job.adapter_id} has other bytes by now")
    return adapter_ref(adapter)


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
        if adapter is not None and adapter.sha256 is not None:
            warm(adapter)

    threading.Thread(target=load, name="warm", daemon=True).start()
    return {"ok": "loading"}
