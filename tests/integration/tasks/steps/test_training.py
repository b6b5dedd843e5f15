"""Trainings on real workers that are killed, stopped and sent away: the same bytes in the end."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cyrex.datasets import blob_store
from cyrex.training.service import cancel_training
from database.models import TrainingCheckpoint, TrainingEvent, TrainingRun
from database.session import company_session, operator_session
from database.transitions import TRAINING
from tasks.broker import dispatch
from tests.support import rows
from tests.support.celery_workers import CeleryWorker, celery_workers, reconciling
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("here"), pytest.mark.slow, pytest.mark.timeout(600)]

LINES = [{"input": f"Where is parcel {n}?", "output": f"shelf {n % 7}"} for n in range(120)]
CONFIG = {"num_epochs": 8, "batch_size": 4, "lora_dropout": 0.1, "checkpoint_every_steps": 20}
RESUME_SECONDS = 15.0
TRAIN_SECONDS = 120.0
# On a busy machine: the evaluation of the run before comes first.
BEGIN_SECONDS = 240.0

Start = Callable[..., CeleryWorker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with celery_workers(tmp_path) as starter:

        def ready(name: str) -> CeleryWorker:
            worker = starter(name, "training")
            worker.wait_ready()
            return worker

        yield ready


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, str]:
    """The package that the training ends in when nothing happens to it."""
    return {}


@pytest.fixture(autouse=True)
def reconciled(here: Any) -> Iterator[None]:
    with reconciling():
        yield


def request(**config: Any) -> str:
    """A training of a new company that stands before its step `train`, published."""
    run_id = rows.accepted(
        rows.company(),
        LINES,
        status="admitted",
        config=CONFIG | config,
        use_qlora=False,
    )
    dispatch.publish(TRAINING, [get(run_id)])
    return run_id


def get(run_id: str) -> TrainingRun:
    found: TrainingRun = rows.get(TrainingRun, run_id)
    return found


def checkpoints(run_id: str) -> list[TrainingCheckpoint]:
    with operator_session() as session:
        query = select(TrainingCheckpoint).where(TrainingCheckpoint.request_id == run_id)
        return list(session.scalars(query.order_by(TrainingCheckpoint.step_number)))


def started(run_id: str) -> list[TrainingEvent]:
    """The events that say where each attempt began."""
    with operator_session() as session:
        query = select(TrainingEvent).where(TrainingEvent.request_id == run_id)
        events = session.scalars(query.order_by(TrainingEvent.id)).all()
    return [event for event in events if event.type == "training"]


def package_of(run_id: str) -> str:
    """The SHA-256 of the trained package, receipt included, once there is one."""

    def ended() -> str | None:
        run = get(run_id)
        assert run.error is None, run.error
        return run.package_sha256

    eventually(ended, TRAIN_SECONDS, "the trained package")
    return str(get(run_id).package_sha256)


def whole(undisturbed: dict[str, str]) -> str:
    if not undisturbed:
        undisturbed["package"] = package_of(request())
    return undisturbed["package"]


def resumed(run_id: str) -> TrainingEvent:
    """The beginning of the second attempt, once it makes steps."""
    eventually(lambda: len(started(run_id)) > 1, 60, "the second attempt")
    event = started(run_id)[1]
    step = event.data["resumed_step"]
    eventually(lambda: get(run_id).progress.get("step", 0) > step, 60, "its first new step")
    return event


def test_a_host_is_gone_and_another_goes_on(start: Start, undisturbed: dict[str, str]) -> None:
    first = start("first")
    expected = whole(undisturbed)
    run_id = request()
    eventually(lambda: len(checkpoints(run_id)) > 1, BEGIN_SECONDS, "two checkpoints")
    second = start("second")
    last = checkpoints(run_id)[-1].step_number
    first.kill()
    shutil.rmtree(first.work_dir)
    died = time.monotonic()
    event = resumed(run_id)
    took = time.monotonic() - died
    print(f"resumed after {took:.1f} s from step {event.data['resumed_step']}")
    assert took < RESUME_SECONDS
    assert event.data["resumed_step"] >= last
    assert package_of(run_id) == expected
    assert get(run_id).failures == 0, "a step that ended well has no failures"
    assert len(checkpoints(run_id)) == 3
    assert not list(second.work_dir.glob(f"{run_id}-?")), "nothing is left behind"


def test_a_stopped_worker_wakes_up_and_changes_nothing(
    start: Start, undisturbed: dict[str, str]
) -> None:
    first = start("first")
    expected = whole(undisturbed)
    run_id = request()
    eventually(lambda: checkpoints(run_id), BEGIN_SECONDS, "a checkpoint")
    second = start("second")
    first.signal(signal.SIGSTOP)
    resumed(run_id)
    assert package_of(run_id) == expected
    before = (rows.columns(get(run_id)), [rows.columns(c) for c in checkpoints(run_id)])
    assert first.descendants("spec.json") or first.descendants("helox"), "its trainer is there"
    first.signal(signal.SIGCONT)
    eventually(lambda: f"{run_id}-1" not in folders(first), 20, "the end of the stale attempt")
    time.sleep(2)
    after = (rows.columns(get(run_id)), [rows.columns(c) for c in checkpoints(run_id)])
    assert _without_evaluation(after) == _without_evaluation(before)
    second.kill()
    again = request()
    assert package_of(again) == expected, "the worker that slept is of use again"


def folders(worker: CeleryWorker) -> set[str]:
    return {path.name for path in worker.work_dir.iterdir()}


def _without_evaluation(found: Any) -> Any:
    """The next step of the run goes on all the while."""
    run, points = found
    moving = {"updated_at", "step", "evaluation", "lease_owner", "published_at", "publications"}
    return {key: value for key, value in run.items() if key not in moving}, points


def test_a_worker_sent_away_leaves_its_checkpoint(
    start: Start, undisturbed: dict[str, str]
) -> None:
    first = start("first")
    expected = whole(undisturbed)
    run_id = request(checkpoint_every_steps=1_000_000)
    eventually(lambda: get(run_id).progress.get("step", 0) > 30, BEGIN_SECONDS, "some steps")
    start("second")
    asked = time.monotonic()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) == 0
    took = time.monotonic() - asked
    print(f"left after {took:.1f} s")
    assert took < 20
    assert [entry["reason"] for entry in get(run_id).history] == ["the worker is leaving"]
    assert get(run_id).failures == 0
    event = resumed(run_id)
    assert event.data["resumed_step"] > 30
    assert package_of(run_id) != expected, "the configuration is part of the receipt"
    assert get(run_id).failures == 0


def test_a_cancelled_training_stops_and_keeps_its_checkpoints(start: Start) -> None:
    start("only")
    run_id = request(checkpoint_every_steps=1_000_000, num_epochs=100)
    run = eventually(
        lambda: get(run_id).progress.get("step", 0) > 10 and get(run_id), BEGIN_SECONDS
    )
    asked = time.monotonic()
    with company_session(run.company_id) as session:
        cancel_training(session, run_id)
    step = get(run_id).progress["step"]
    eventually(lambda: get(run_id).status == "cancelled", 20, "the end")
    took = time.monotonic() - asked
    (kept,) = checkpoints(run_id)
    print(f"cancelled at step {step}, stopped at {kept.step_number}, {took:.2f} s")
    assert kept.step_number >= step
    assert blob_store().exists(kept.sha256)
    assert took < 5
