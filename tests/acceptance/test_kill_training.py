"""The host of a training is gone: the whole stack carries on, to the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.client import UNFINISHED_TRAINING, Api
from demo.main_job import messages
from embedded import Stack
from tests.support.celery_workers import CeleryWorker

EXAMPLES = 160
CONFIG = {"num_epochs": 12, "batch_size": 4, "checkpoint_every_steps": 25}
RESUME_SECONDS = 15.0
WAIT_SECONDS = 400.0
LEAVE_SECONDS = 30.0
CANCEL_SECONDS = 30.0

NewCompany = Callable[[str], Api]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def second(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CeleryWorker]:
    """A training worker on a "host" of its own: it shares no work folder with the stack's."""
    environment = {**os.environ, **stack.environment}
    folder = tmp_path_factory.mktemp("second")
    worker = CeleryWorker(folder, "second", "training", environment=environment)
    try:
        worker.wait_ready()
        yield worker
    finally:
        worker.stop()


def request(api: Api, **config: Any) -> str:
    data = [{"input": m.text, "output": m.label("acme")} for m in messages(EXAMPLES)]
    body = {"training_data": data, "config": CONFIG | config, "use_qlora": False, "seed": 11}
    return str(api.post("/company-automation/train-adapter", body)["links"]["self"])


def until(api: Api, path: str, condition: Callable[[Any], Any]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        found = api.get(path)
        if condition(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"it did not come to that: {found}")


def end_of(api: Api, path: str) -> Any:
    return until(api, path, lambda run: run["status"] not in UNFINISHED_TRAINING)


def sha256_of(api: Api, run: Any) -> str:
    assert run["status"] == "succeeded", run
    return str(api.get(f"/company-automation/adapters/{run['adapter_id']}")["sha256"])


def starts(api: Api, path: str) -> list[Any]:
    """Where each attempt at training began."""
    events = api.get(f"{path}/events")["events"]
    return [event["data"] for event in events if event["type"] == "training"]


def checkpoints(api: Api, path: str) -> list[Any]:
    return list(api.get(f"{path}/checkpoints")["checkpoints"])


def host_of(stack: Stack, second: CeleryWorker, path: str) -> str:
    """The worker at whose feet the run's folder lies."""
    request_id = path.rpartition("/")[2]
    there = list(second.work_dir.glob(f"{request_id}-*"))
    here = list((stack.layout.root / "work").glob(f"{request_id}-*"))
    assert bool(there) != bool(here)
    return "second" if there else "training"


def kill_host(stack: Stack, second: CeleryWorker, name: str) -> None:
    """kill -9 of the worker and of all that it started; its disk is lost."""
    if name == "second":
        second.kill()
        shutil.rmtree(second.work_dir)
        return
    main = psutil.Process(stack.pid("training"))
    family = [*main.children(recursive=True), main]
    stack.kill("training")
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(stack.layout.root / "work")


@pytest.fixture(scope="module")
def expected(operator: Api, second: CeleryWorker) -> str:
    """The adapter that the training ends in when nothing happens to it."""
    company_id = f"calm-{uuid.uuid4().hex[:6]}"
    key = operator.post("/companies", {"company_id": company_id})["api_key"]
    api = Api(operator.url, key)
    return sha256_of(api, end_of(api, request(api)))


def test_another_host_goes_on(
    stack: Stack, second: CeleryWorker, new_company: NewCompany, expected: str
) -> None:
    api = new_company(f"killed-{uuid.uuid4().hex[:6]}")
    path = request(api)
    until(api, f"{path}/checkpoints", lambda found: len(found["checkpoints"]) > 1)
    last = checkpoints(api, path)[0]["step"]
    kill_host(stack, second, host_of(stack, second, path))
    died = time.monotonic()
    until(api, path, lambda run: run["attempt"] > 1 and run["progress"].get("step", 0) > last)
    took = time.monotonic() - died
    resumed = starts(api, path)[1]["resumed_step"]
    print(f"\nmaking new steps {took:.1f} s after the death, from step {resumed}")
    assert resumed >= last
    assert sha256_of(api, end_of(api, path)) == expected
    assert took < RESUME_SECONDS


def test_a_worker_that_is_sent_away_hands_over(
    stack: Stack, second: CeleryWorker, new_company: NewCompany
) -> None:
    api = new_company(f"sent-{uuid.uuid4().hex[:6]}")
    path = request(api, checkpoint_every_steps=1_000_000, num_epochs=5)
    until(api, path, lambda run: run["progress"].get("step", 0) > 20)
    stack.wait_ready("training")
    if host_of(stack, second, path) == "second":
        second.process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        assert second.process.wait(LEAVE_SECONDS) == 0
    else:
        pid = stack.kill("training", signal.SIGTERM)
        asked = time.monotonic()
        while psutil.pid_exists(pid) and time.monotonic() < asked + LEAVE_SECONDS:
            time.sleep(0.05)
    took = time.monotonic() - asked
    print(f"\nleft {took:.1f} s after SIGTERM")
    assert took < LEAVE_SECONDS
    run = until(api, path, lambda run: len(starts(api, path)) > 1 and run)
    assert starts(api, path)[1]["resumed_step"] > 20
    assert run["attempt"] == 2
    run = end_of(api, path)
    assert run["status"] == "succeeded"
    assert run["error"] is None


def test_cancel_keeps_the_checkpoints(new_company: NewCompany) -> None:
    api = new_company(f"cancelled-{uuid.uuid4().hex[:6]}")
    path = request(api, checkpoint_every_steps=1_000_000, num_epochs=100)
    until(api, path, lambda run: run["progress"].get("step", 0) > 10)
    asked = time.monotonic()
    api.post(f"{path}/cancel")
    run = end_of(api, path)
    took = time.monotonic() - asked
    (kept,) = checkpoints(api, path)
    print(f"\ncancelled after {took:.1f} s, at step {kept['step']} of {run['progress']}")
    assert run["status"] == "cancelled"
    assert took < CANCEL_SECONDS


def test_the_folders_are_clean(stack: Stack) -> None:
    root: Path = stack.layout.root / "work"
    assert not root.exists() or not list(root.iterdir())
