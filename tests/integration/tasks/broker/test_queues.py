"""Whether a queue is worked on: said by a task that ran there, not by a ping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete

from database.models import Canary, Worker
from database.session import keyless_session, operator_session
from tasks import app
from tasks.broker import queues
from tasks.broker.queues import BUSY, CANARY_FRESH_SECONDS, DOWN, OK, STARTING, STUCK
from tests.support import rows
from tests.support.broker import Broker

LONG = CANARY_FRESH_SECONDS + 5


@pytest.fixture(autouse=True)
def empty(broker: Broker) -> None:
    with operator_session() as session:
        for model in (Canary, Worker):
            session.execute(delete(model))


def judge(queue: str = "tools") -> queues.QueueState:
    # The API asks so, before it knows who calls.
    with keyless_session() as session:
        return queues.states(session)[queue]


def worker(started: float = LONG, heartbeat: float = 0.0, **details: int) -> None:
    worker_id = rows.worker(age_seconds=heartbeat)
    rows.change(Worker, worker_id, queues=["tools"], details=details, started_at=rows.ago(started))


def canary(seconds: float) -> None:
    with operator_session() as session:
        queues.record_canary(session, "tools", "w", 0.1)
    rows.change(Canary, "tools", seen_at=rows.ago(seconds))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: None, DOWN),
        (lambda: (canary(1),), DOWN),  # nobody is left
        (lambda: (worker(heartbeat=60), canary(1)), DOWN),
        (lambda: (worker(), canary(1)), OK),
        (lambda: (worker(slots=4, busy=4), canary(1)), OK),
        (lambda: (worker(slots=4, busy=1), canary(LONG)), STUCK),
        (lambda: (worker(slots=4, busy=0),), STUCK),
        (lambda: (worker(slots=1, busy=1), canary(LONG)), BUSY),
        (lambda: (worker(slots=1, busy=1), worker(slots=1, busy=0), canary(LONG)), STUCK),
        (lambda: (worker(started=1, slots=4),), STARTING),
        (lambda: (worker(started=1, slots=4), worker(slots=4)), STUCK),
    ],
)
def test_canaries_and_heartbeats_are_weighed(make: Callable[[], Any], expected: str) -> None:
    make()
    assert judge().status == expected


def test_a_message_says_when_it_was_sent(broker: Broker) -> None:
    app.send_task("maintenance.canary", queue="tools", priority=3)
    time.sleep(0.2)
    app.send_task("maintenance.canary", queue="tools", priority=0)
    found = queues.backlog(broker.redis)
    assert found["tools"].depth == 2
    assert 0.2 <= (found["tools"].oldest_seconds or 0) < 10
    assert found["inference"] == queues.Backlog(0, None)
    broker.redis.rpush("inference", "no message of ours")
    assert queues.backlog(broker.redis)["inference"] == queues.Backlog(1, None)
