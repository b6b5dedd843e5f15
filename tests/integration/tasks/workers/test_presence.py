"""A worker's row and heartbeat: what keeps its leases, and what frees those of the dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from celeryconfig import RECONCILE_SECONDS
from database import claims
from database.base import Json
from database.models import AdapterAlias, Job, LoraAdapter, TrainingRun, Worker
from database.session import operator_session
from database.transitions import ADAPTER, JOB, TRAINING
from settings import REPOSITORY
from synapse import streams
from tasks.broker import dispatch
from tasks.upkeep import reconciler
from tasks.workers.neighbours import born, home
from tasks.workers.presence import Presence
from tests import rows
from tests.integration.tasks.conftest import Broker, Postgres
from tests.waiting import eventually

FREED_SECONDS = 10.0
START_SECONDS = 60.0


@pytest.fixture(autouse=True)
def tables(broker: Broker) -> None:
    pass


def worker_of(node: str) -> Worker | None:
    with operator_session() as session:
        return session.scalar(select(Worker).where(Worker.node == node))


def held(owner: str, company_id: str, **values: Any) -> str:
    """A job that this worker is at."""
    return rows.claimable(JOB, company_id, status="running", lease_owner=owner, **values)


# In this process, with a quick heart.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.1)


@pytest.fixture
def arrive(quick: None) -> Iterator[Callable[..., Presence]]:
    """`arrive(node)` starts a presence; all of them leave at the end."""
    present: list[Presence] = []

    def start(node: str = "test@here", details: Callable[[], Json] = dict) -> Presence:
        presence = Presence(node, ["bridge", "tools"], details)
        present.append(presence)
        presence.start()
        return presence

    yield start
    for presence in present:
        presence.stop()


def beats(worker_id: str) -> bool:
    """Whether the heartbeat goes on."""
    before = rows.get(Worker, worker_id).heartbeat_at
    return bool(
        eventually(lambda: rows.get(Worker, worker_id).heartbeat_at > before, 3, "a heartbeat")
    )


def test_a_worker_has_a_row_that_its_heartbeat_renews(arrive: Callable[..., Presence]) -> None:
    load = {"resident": 0}
    presence = arrive("test@here", lambda: dict(load))
    row = rows.get(Worker, presence.worker_id)
    assert (row.node, row.queues, row.pid) == ("test@here", ["bridge", "tools"], os.getpid())
    load["resident"] = 3
    assert beats(presence.worker_id)
    place = {"home": home(), "born": born(os.getpid())}
    wanted = {"slots": 1, "busy": 0, **place, "resident": 3}
    eventually(lambda: rows.get(Worker, presence.worker_id).details == wanted)


def test_whoever_takes_a_name_frees_its_predecessors_rows_at_once(
    arrive: Callable[..., Presence], acme: str, broker: Broker
) -> None:
    dead, other = rows.worker("test@here"), rows.worker("test@elsewhere")
    mine, theirs = held(dead, acme), held(other, acme)
    arrive("test@here")
    row = rows.get(Job, mine)
    assert (row.lease_owner, row.attempt, row.failures) == (None, 2, 1)
    assert broker.rows("inference") == [(mine, 2)], "told at once: others may go on with it"
    assert rows.get(Job, theirs).lease_owner == other


def test_a_job_that_killed_three_workers_ends_like_any_other(
    arrive: Callable[..., Presence], acme: str
) -> None:
    key = held(rows.worker("test@here"), acme, failures=2)
    run = rows.claimable(
        TRAINING,
        acme,
        status="running",
        failures=2,
        lease_owner=rows.get(Job, key).lease_owner,
    )
    arrive("test@here")
    assert rows.get(Job, key).status == "failed"
    assert rows.get(Job, key).completed_at is not None
    assert rows.told(key) == ["queued", "failed"]
    assert rows.get(TrainingRun, run).finished_at is not None
    assert rows.events(run)[-1] == "failed"


def test_a_worker_that_was_forgotten_comes_back_with_its_leases(
    arrive: Callable[..., Presence], acme: str
) -> None:
    presence = arrive()
    key = held(presence.worker_id, acme)
    with operator_session() as session:
        session.execute(delete(Worker))
    eventually(lambda: worker_of("test@here"), 3, "the row")
    assert beats(presence.worker_id)
    assert (rows.get(Job, key).lease_owner, rows.get(Job, key).attempt) == (presence.worker_id, 1)


def test_a_stopped_process_that_wakes_up_takes_nothing_from_its_successor(
    arrive: Callable[..., Presence], acme: str
) -> None:
    arrive("test@here")
    successor = arrive("test@here")
    key = held(successor.worker_id, acme)
    time.sleep(0.5)  # several heartbeats of both
    row = worker_of("test@here")
    assert row is not None
    assert row.worker_id == successor.worker_id
    assert rows.get(Job, key).attempt == 1
    assert beats(successor.worker_id)


def test_a_worker_that_starts_while_postgres_is_away_arrives_when_it_is_back(
    arrive: Callable[..., Presence], postgres: Postgres
) -> None:
    postgres.cut(refuse=True)
    presence = arrive("late@here")
    postgres.restore()
    eventually(lambda: worker_of("late@here"), 5, "the row")
    assert beats(presence.worker_id)


def test_a_heart_outlives_an_absence_of_postgres(
    arrive: Callable[..., Presence], postgres: Postgres
) -> None:
    presence = arrive()
    postgres.cut(refuse=True)
    time.sleep(0.5)
    postgres.restore()
    eventually(lambda: worker_of("test@here"), 5, "the database")
    assert beats(presence.worker_id)


def test_a_heart_outlives_details_that_cannot_be_had(arrive: Callable[..., Presence]) -> None:
    broken = []

    def details() -> Json:
        if broken:
            raise RuntimeError("the engine is closed")
        return {}

    presence = arrive("test@here", details)
    broken.append(True)
    time.sleep(0.3)
    assert beats(presence.worker_id)


def test_a_heart_outlives_a_lease_that_cannot_be_freed(
    arrive: Callable[..., Presence], acme: str
) -> None:
    presence = arrive()
    key = held(presence.worker_id, acme)
    presence.release_later(JOB, rows.get(Job, key), "a reason with a \x00 in it")
    time.sleep(0.3)
    assert beats(presence.worker_id)
    eventually(lambda: rows.get(Job, key).lease_owner is None, 3, "the lease is freed")


def test_who_leaves_in_good_order_frees_what_it_holds_and_counts_no_failure(
    arrive: Callable[..., Presence], acme: str
) -> None:
    presence = arrive()
    key = held(presence.worker_id, acme)
    presence.stop()
    assert worker_of("test@here") is None
    row = rows.get(Job, key)
    assert (row.lease_owner, row.attempt, row.failures) == (None, 2, 0)


# Real Celery workers.


class CeleryWorker:
    """`celery -A tasks worker` as the stack starts it, in a session of its own."""

    def __init__(self, folder: Path, name: str, queues: str, pool: str, size: int) -> None:
        self.node = f"{name}@test"
        self._folder = folder
        self._command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-n", self.node]
        self._command += ["-Q", queues, "-P", pool, "-c", str(size)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the worker says that it is ready."""
        ready = self._folder / f"{self.node}.ready"
        ready.unlink(missing_ok=True)
        log = (self._folder / f"{self.node}.log").open("ab")
        self._process = subprocess.Popen(
            self._command,
            cwd=REPOSITORY,
            env={**os.environ, "CYREX_READY_FILE": str(ready), "LOG_LEVEL": "INFO"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        eventually(ready.exists, START_SECONDS, "the worker is ready")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """All of its processes, as the kernel would when memory runs out."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def terminate(self) -> int:
        """Ask it to leave; returns its exit status."""
        assert self._process is not None
        process, self._process = self._process, None
        process.terminate()
        return process.wait(30)


@pytest.fixture
def celery_worker(tmp_path: Path) -> Iterator[Callable[..., CeleryWorker]]:
    made: list[CeleryWorker] = []

    def start(name: str, queues: str, pool: str, size: int) -> CeleryWorker:
        worker = CeleryWorker(tmp_path, name, queues, pool, size)
        made.append(worker)
        worker.start()
        return worker

    yield start
    for worker in made:
        worker.kill()


def row_of(node: str) -> Worker:
    found = eventually(lambda: worker_of(node), what=f"the row of {node}")
    assert found is not None
    return found


def test_the_bridge_worker_reads_streams_runs_steps_and_leaves(
    celery_worker: Callable[..., CeleryWorker], acme: str, broker: Broker
) -> None:
    worker = celery_worker("bridge", "bridge,maintenance", "threads", 2)
    row = row_of(worker.node)
    assert (row.pid, row.queues) == (worker.pid, ["bridge", "maintenance"])

    # A step that the broker brings.
    evaluation = {
        "champion_id": None,
        "scores": {
            "base": {"exact_match": 0.1, "mean_loss": 2.0},
            "candidate": {"exact_match": 0.9, "mean_loss": 0.2},
        },
    }
    adapter_id = rows.claimable(ADAPTER, acme, step="decide", evaluation=evaluation)
    dispatch.publish(ADAPTER, [rows.get(LoraAdapter, adapter_id)])
    eventually(lambda: rows.get(LoraAdapter, adapter_id).status == "ready", what="the decision")
    with operator_session() as session:
        assert session.scalars(select(AdapterAlias.champion_id)).all() == [adapter_id]

    # An outside event: its run is accepted here, and the next step waits for a training worker.
    request_id = f"r-{acme}"
    broker.redis.xadd(
        streams.LORA_TRAINING_REQUESTS,
        {
            "request_id": request_id,
            "company_id": acme,
            "training_data": json.dumps(rows.LINES),
        },
    )
    (message,) = eventually(lambda: broker.sent("training"), 20, "the next step")
    assert message.task == "training.train"
    assert message.arguments == (acme, request_id, "train", 1)
    run = rows.get(TrainingRun, request_id)
    assert (run.status, run.step, run.lease_owner) == ("running", "train", None)
    assert rows.events(request_id) == ["requested", "accepted"]

    beat = row_of(worker.node).heartbeat_at
    eventually(lambda: row_of(worker.node).heartbeat_at > beat, 5, "a heartbeat")
    assert worker.terminate() == 0
    assert worker_of(worker.node) is None


def test_a_restarted_worker_frees_the_rows_of_its_former_life_at_once(
    celery_worker: Callable[..., CeleryWorker], acme: str
) -> None:
    worker = celery_worker("bridge", "bridge,maintenance", "threads", 1)
    key = held(row_of(worker.node).worker_id, acme)
    worker.kill()
    worker.start()
    row = rows.get(Job, key)
    assert (row.lease_owner, row.attempt, row.failures) == (None, 2, 1)
    assert row.history[-1]["reason"] == "worker replaced"


@pytest.mark.slow
def test_a_killed_workers_rows_are_free_in_time(
    celery_worker: Callable[..., CeleryWorker], here: Presence, acme: str, broker: Broker
) -> None:
    worker = celery_worker("tools", "tools", "threads", 1)
    key = held(row_of(worker.node).worker_id, acme)
    worker.kill()
    killed = time.monotonic()

    def freed() -> bool:
        reconciler.reconcile()
        return bool(rows.get(Job, key).lease_owner is None)

    eventually(freed, 2 * FREED_SECONDS, "the lease is freed")
    assert time.monotonic() - killed < FREED_SECONDS
    assert rows.get(Job, key).history[-1]["reason"] == "worker lost"
    assert (key, 2) in broker.rows("inference")


def test_a_dead_worker_is_noticed_within_the_promised_time() -> None:
    assert claims.HEARTBEAT_EXPIRY_SECONDS + RECONCILE_SECONDS <= FREED_SECONDS
    assert claims.HEARTBEAT_SECONDS * 3 <= claims.HEARTBEAT_EXPIRY_SECONDS, "two may come late"


def test_each_process_of_a_training_worker_has_a_row_of_its_own(
    celery_worker: Callable[..., CeleryWorker], acme: str
) -> None:
    worker = celery_worker("training", "training", "prefork", 1)
    child = row_of("training@test/0")
    assert child.pid != worker.pid
    assert child.queues == ["training"]
    assert worker_of(worker.node) is None, "its main process runs no task"

    key = held(child.worker_id, acme)
    os.kill(child.pid, signal.SIGKILL)
    successor = eventually(
        lambda: (row := row_of("training@test/0")).worker_id != child.worker_id and row,
        what="the successor",
    )
    assert successor.pid != child.pid
    assert rows.get(Job, key).lease_owner is None
    assert worker.terminate() == 0
    assert worker_of("training@test/0") is None
