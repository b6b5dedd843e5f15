"""Real Celery workers come and go: their rows, and what frees the rows of the killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from celeryconfig import RECONCILE_SECONDS
from database import claims
from database.models import Job
from database.transitions import JOB
from tasks.upkeep import reconciler
from tasks.workers.presence import Presence
from tests.support import rows
from tests.support.broker import Broker
from tests.support.celery_worker import CeleryWorker, row_of, worker_of
from tests.support.waiting import eventually

FREED_SECONDS = 10.0


@pytest.fixture(autouse=True)
def tables(broker: Broker) -> None:
    pass


def held(owner: str, company_id: str, **values: Any) -> str:
    """A job that this worker is at."""
    return rows.claimable(JOB, company_id, status="running", lease_owner=owner, **values)


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
