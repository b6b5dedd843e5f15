"""Beat's ticks: a canary goes to each queue and is run by a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete

import celeryconfig
from database.models import Canary, Worker
from database.session import keyless_session, operator_session
from tasks import app
from tasks.broker import queues
from tasks.broker.queues import CANARY_FRESH_SECONDS, DOWN, OK, STARTING
from tasks.workers.neighbours import host_scope, start_ticks
from tests.integration.tasks import processes
from tests.support import rows
from tests.support.broker import Broker
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def empty(broker: Broker) -> None:
    with operator_session() as session:
        for model in (Canary, Worker):
            session.execute(delete(model))


def judge(queue: str = "tools") -> queues.QueueState:
    # The API asks so, before it knows who calls.
    with keyless_session() as session:
        return queues.states(session)[queue]


def test_beat_sends_one_to_each_queue_before_all_work() -> None:
    ticks = [tick for name, tick in celeryconfig.beat_schedule.items() if "canary" in name]
    assert {tick["options"]["queue"] for tick in ticks} == set(queues.names())
    for tick in ticks:
        assert tick["options"]["priority"] == 0
        assert tick["schedule"] * 2 < CANARY_FRESH_SECONDS, "one may be lost"


def test_a_real_worker_answers_a_real_canary(broker: Broker, tmp_path: Path) -> None:
    with processes.worker(tmp_path, "tools,maintenance"):
        assert judge().status == STARTING
        app.send_task("maintenance.canary", queue="tools", priority=0)
        eventually(lambda: judge().status == OK, what="the canary of tools")
        assert judge("maintenance").status == STARTING, "each queue speaks for itself"
        assert rows.get(Canary, "tools").node == "worker@test"
        (row,) = _workers()
        place = {"host_scope": host_scope(), "start_ticks": start_ticks(row.pid)}
        assert row.details == {"slots": 4, "busy": 0, **place}
    assert judge("inference").status == DOWN


def _workers() -> list[Worker]:
    with operator_session() as session:
        return list(session.query(Worker))
