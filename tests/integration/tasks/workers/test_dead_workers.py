"""The rows of dead workers are freed; in doubt nobody is dead."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from sqlalchemy import select

from database import claims
from database.models import Job, TrainingRun, Worker
from database.session import operator_session
from database.transitions import JOB, MACHINES, TRAINING, Machine
from tasks.broker import routing
from tasks.upkeep import reconciler
from tasks.workers import dead_workers, neighbours
from tasks.workers.presence import Presence
from tests.support import rows
from tests.support.broker import Broker

pytestmark = pytest.mark.usefixtures("here")


every_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


FIRST_QUEUE = {
    "training": "bridge",
    "adapter": "inference",
    "job": "inference",
    "tool": "tools",
}


DEAD = claims.HEARTBEAT_EXPIRY_SECONDS + 1


def leased(machine: Machine, company_id: str, owner: str, **values: Any) -> str:
    """A row that a worker is at."""
    wanted = {"status": machine.running, "lease_owner": owner, **values}
    return rows.claimable(machine, company_id, **wanted)


@every_machine
@pytest.mark.parametrize("owner", ["dead", "unknown"])
def test_a_dead_workers_row_is_freed_and_given_to_another(
    machine: Machine, owner: str, acme: str, broker: Broker
) -> None:
    worker_id = rows.worker(age_seconds=DEAD) if owner == "dead" else "unknown"
    key = leased(machine, acme, worker_id)
    reconciler.reconcile()
    row = rows.row_of(machine, key)
    assert (row.status, row.lease_owner) == (machine.running, None)
    assert (row.attempt, row.failures) == (2, 1)
    assert row.history[0]["reason"] == "worker lost"
    assert row.history[0]["owner"] == worker_id
    assert broker.rows(FIRST_QUEUE[machine.kind]) == [(key, 2)]
    reconciler.reconcile()
    assert len(broker.sent(FIRST_QUEUE[machine.kind])) == 1, "told once is enough"


def test_a_living_workers_row_is_left_alone(acme: str, here: Presence, broker: Broker) -> None:
    keys = [leased(JOB, acme, here.worker_id), leased(JOB, acme, rows.worker())]
    reconciler.reconcile()
    for key in keys:
        assert rows.get(Job, key).attempt == 1
    assert broker.sent("inference") == []


def test_a_job_whose_workers_keep_dying_is_set_aside_and_its_end_is_told(
    acme: str, broker: Broker
) -> None:
    key = leased(JOB, acme, "unknown", failures=2)
    reconciler.reconcile()
    row = rows.get(Job, key)
    assert (row.status, row.error["code"]) == ("failed", "gave_up")
    assert row.completed_at is not None
    assert len(rows.dead_letters(key)) == 1
    assert rows.told(key) == ["queued", "failed"]
    assert broker.sent("inference") == []


def test_a_training_whose_workers_keep_dying_ends_like_any_other(acme: str) -> None:
    key = leased(TRAINING, acme, "unknown", failures=2)
    waiting = rows.run(acme, status="queued")
    reconciler.reconcile()
    row = rows.get(TrainingRun, key)
    assert row.status == "failed"
    assert row.finished_at is not None
    assert rows.events(key)[-1] == "failed", "who follows the run hears of its end"
    assert rows.get(TrainingRun, waiting).status == "admitted"


def test_a_cancelled_training_of_a_dead_worker_is_cancelled(acme: str, broker: Broker) -> None:
    key = leased(TRAINING, acme, "unknown", cancel_requested=True)
    reconciler.reconcile()
    assert rows.get(TrainingRun, key).status == "cancelled"
    assert broker.sent("bridge") == []


@pytest.mark.parametrize("doubt", ["postgres has just started", "we were away", "nobody knows us"])
def test_in_doubt_nobody_is_declared_dead(
    doubt: str, acme: str, here: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = leased(JOB, acme, "unknown")
    if doubt == "postgres has just started":
        monkeypatch.setattr(dead_workers, "GRACE_SECONDS", 1e6)
    elif doubt == "we were away":
        rows.change(Worker, here.worker_id, heartbeat_at=rows.ago(DEAD))
    else:
        monkeypatch.setattr(here, "worker_id", "nobody")
    reconciler.reconcile()
    assert (rows.get(Job, key).lease_owner, rows.get(Job, key).attempt) == ("unknown", 1)


def neighbour(pid: int, since: int | None, where: str | None) -> str:
    """A worker whose heart beat a moment ago, in a process of this machine or of another."""
    worker_id = rows.worker("inference@test")
    rows.change(Worker, worker_id, pid=pid, details={"host_scope": where, "start_ticks": since})
    return worker_id


def test_a_neighbours_death_is_seen_at_once(
    acme: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its heartbeat says, and however new Postgres is: the kernel knows."""
    monkeypatch.setattr(dead_workers, "GRACE_SECONDS", 1e6)
    process = subprocess.Popen(["sleep", "60"])
    worker_id = neighbour(process.pid, neighbours.start_ticks(process.pid), neighbours.host_scope())
    key = leased(JOB, acme, worker_id)
    reconciler.reconcile()
    assert rows.get(Job, key).lease_owner == worker_id, "it lives"
    process.kill()
    process.wait()
    broker.redis.lpush(routing.direct_name("inference@test"), "a message")
    reconciler.reconcile()
    row = rows.get(Job, key)
    assert (row.lease_owner, row.attempt, row.history[0]["reason"]) == (None, 2, "worker lost")
    taken = (broker.redis.rpop("inference"), broker.redis.rpop("inference"))
    assert b"a message" in taken, "what lay in its own queue is everybody's"
    assert rows.get(Worker, worker_id), "its row is kept for a while, as a silent worker's is"


def test_a_number_that_another_process_has_now_is_no_sign_of_life(acme: str) -> None:
    worker_id = neighbour(os.getpid(), 1, neighbours.host_scope())
    key = leased(JOB, acme, worker_id)
    reconciler.reconcile()
    assert rows.get(Job, key).lease_owner is None


@pytest.mark.parametrize("where", ["another machine", None])
def test_elsewhere_a_number_tells_nothing(where: str | None, acme: str) -> None:
    key = leased(JOB, acme, neighbour(2**22 + 1, 1, where))
    reconciler.reconcile()
    assert rows.get(Job, key).lease_owner is not None


def test_workers_long_gone_are_forgotten(here: Presence) -> None:
    gone, silent = rows.worker(age_seconds=61), rows.worker(age_seconds=30)
    reconciler.reconcile()
    with operator_session() as session:
        known = set(session.scalars(select(Worker.worker_id)))
    assert gone not in known
    assert {silent, here.worker_id} <= known


def test_in_doubt_no_worker_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long absence of Postgres nobody's heartbeat is young."""
    monkeypatch.setattr(dead_workers, "GRACE_SECONDS", 1e6)
    silent = rows.worker(age_seconds=300)
    reconciler.reconcile()
    assert rows.get(Worker, silent)
