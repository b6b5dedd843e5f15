"""A worker's row and heartbeat: what keeps its leases, and what frees those of the dead."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete

from cyrex.work.lease import Lease
from database import claims
from database.base import Json
from database.models import Job, TrainingRun, Worker
from database.session import operator_session
from database.transitions import JOB, TRAINING
from tasks.workers.neighbours import host_scope, start_ticks
from tasks.workers.presence import Presence
from tests.support import rows
from tests.support.broker import Broker
from tests.support.celery_worker import worker_of
from tests.support.postgres import Postgres
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def tables(broker: Broker) -> None:
    pass


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
    place = {"host_scope": host_scope(), "start_ticks": start_ticks(os.getpid())}
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
    row = rows.get(Job, key)
    presence.release_later(Lease.held(JOB, row), row, "a reason with a \x00 in it")
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
