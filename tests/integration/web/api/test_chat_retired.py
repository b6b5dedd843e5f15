"""An adapter that is retired or deleted while its answers are under way, with a real engine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cyrex.agents import state as agent_state
from cyrex.errors import NotFound
from cyrex.jobs import service as jobs
from database.models import LoraAdapter
from database.session import company_session
from modelkit.registry import get_registry
from settings import get_settings
from tasks.inference import engine as inference
from tasks.inference.adapters import TRUSTED_SECONDS
from tests.support import rows
from tests.support.tiny import base, write_adapter
from tests.support.waiting import eventually
from tests.support.web import Api, Tenant, error_of, new_tenant
from tests.support.web_chat import ask, events_of, whole
from tests.support.web_chat_worker import ChatWorker, chat_worker

__all__ = ["base"]

ADAPTERS = "/company-automation/adapters"


@pytest.fixture(scope="module", autouse=True)
def worker(app: Flask, redis_url: str, base: Path) -> Iterator[ChatWorker]:
    with chat_worker(redis_url, base) as running:
        yield running


@pytest.fixture
def acme(operator: Api) -> Tenant:
    # The registry outlives the database of each test module.
    return new_tenant(operator, "retired")


@pytest.fixture
def adapter_id(acme: Tenant, base: Path, tmp_path: Path) -> str:
    adapter_id = rows.adapter(acme.company_id)
    version = rows.get(LoraAdapter, adapter_id).version
    folder = write_adapter(tmp_path / "adapter", base, seed=3)
    (folder / "README.md").unlink(missing_ok=True)
    model = get_registry(get_settings()).register_model(acme.company_id, version, folder, {})
    rows.change(
        LoraAdapter,
        adapter_id,
        status="ready",
        sha256=model.sha256,
        registry_path=model.path,
    )
    return adapter_id


def end(acme: Tenant, adapter_id: str, act: str) -> None:
    path = f"{ADAPTERS}/{adapter_id}"
    ended = acme.api.delete(path) if act == "deleted" else acme.api.post(f"{path}/retire")
    assert ended.status_code == 200, ended.text


def is_answering() -> bool:
    return any(known.uses for known in inference.adapters()._known.values())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("act", ["retired", "deleted"])
def test_an_answer_under_way_ends_with_an_error(
    acme: Tenant, adapter_id: str, worker: ChatWorker, stream: bool, act: str
) -> None:
    """The engine stands still meanwhile, so that the answer cannot be there first."""
    assert whole(acme.api, model=adapter_id)["model"] == adapter_id
    pid = worker.engine.pid
    assert pid is not None
    watch = inference.adapters()
    eventually(lambda: not is_answering(), what="the end of the first answer")
    asked: Future[Any]
    with ThreadPoolExecutor(1) as pool:
        os.kill(pid, signal.SIGSTOP)
        try:
            asked = pool.submit(ask, acme.api, model=adapter_id, stream=stream, max_tokens=100)
            eventually(is_answering)
            end(acme, adapter_id, act)
            eventually(lambda: not watch._known, 30, "the watch to see it")
        finally:
            os.kill(pid, signal.SIGCONT)
        response = asked.result(30)
    # A stream whose error comes before its first word has not begun.
    if not stream or response.status_code != 200:
        error = error_of(response, 404, "model_not_found")
    else:
        error = next(e["error"] for e in events_of(response) if "error" in e)
    assert f"{adapter_id}' was {act} and answers no more" in error["message"]
    assert error["code"] == "model_not_found"
    error_of(ask(acme.api, model=adapter_id), 404, "model_not_found")
    assert whole(acme.api)["model"] == "base", "the engine goes on for others"


def test_a_jobs_step_under_way_fails_by_name(
    acme: Tenant, adapter_id: str, worker: ChatWorker
) -> None:
    job_id = rows.job(acme.company_id)
    acme.api.post(f"{ADAPTERS}/{adapter_id}/promote")
    with company_session(acme.company_id) as session:
        job = jobs.get_job(session, job_id)
        jobs.begin(session, job)
        prepared = agent_state.prepare(session, job)
    assert job.adapter_id == adapter_id
    pid = worker.engine.pid
    assert pid is not None
    with ThreadPoolExecutor(1) as pool:
        os.kill(pid, signal.SIGSTOP)
        try:
            answered = pool.submit(inference.answer, job, prepared, lambda: False)
            eventually(is_answering)
            force = {"force": True}
            assert acme.api.post(f"{ADAPTERS}/{adapter_id}/retire", force).status_code == 200
            eventually(lambda: not inference.adapters()._known, 30, "the watch to see it")
        finally:
            os.kill(pid, signal.SIGCONT)
        with pytest.raises(NotFound, match="was retired and answers no more"):
            answered.result(30)
    # Its next step, or another job that is bound to it.
    with pytest.raises(NotFound, match="was retired and answers no more"):
        inference.answer(job, prepared, lambda: False)


def test_a_worker_refuses_what_the_api_still_let_pass(
    acme: Tenant, adapter_id: str, worker: ChatWorker
) -> None:
    """A conversation that waits in the queue while its adapter is retired."""
    with ThreadPoolExecutor(1) as pool, worker.pause():
        asked = pool.submit(ask, acme.api, model=adapter_id)
        eventually(lambda: worker.redis.llen("inference"))
        end(acme, adapter_id, "retired")
        # Longer than a worker trusts what it has seen.
        threading.Event().wait(1.5 * TRUSTED_SECONDS)
        worker.paused.clear()
        error_of(asked.result(30), 404, "model_not_found")
