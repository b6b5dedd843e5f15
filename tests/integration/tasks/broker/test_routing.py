"""Which queue a company's work goes to, with real rows of workers and a real broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from database.models import Job, Worker
from database.session import operator_session
from database.transitions import JOB
from tasks.broker import dispatch, routing
from tasks.broker.routing import COMMON_QUEUE, SPILL_DEPTH, direct_name, preferred, route
from tasks.upkeep import reconciler
from tasks.workers.presence import Presence
from tests.support import rows
from tests.support.broker import Broker

NODES = ("inference1@a", "inference2@b")


@pytest.fixture(autouse=True)
def fresh_list() -> Iterator[None]:
    routing.live_workers.forget()
    yield
    routing.live_workers.forget()


def inference_worker(node: str, age_seconds: float = 0.0, ready: bool = True) -> None:
    worker_id = rows.worker(node, age_seconds)
    with operator_session() as session:
        session.execute(
            update(Worker)
            .where(Worker.worker_id == worker_id)
            .values(queues=[COMMON_QUEUE, direct_name(node)], details={"ready": ready})
        )


def test_one_worker_reads_the_common_queue(broker: Broker, acme: str) -> None:
    inference_worker(NODES[0])
    inference_worker(NODES[1], age_seconds=30)  # dead
    rows.worker("training@a")  # lives, and has no engine
    assert route(acme, broker.redis) == COMMON_QUEUE


def test_of_two_workers_the_company_prefers_one(broker: Broker, acme: str) -> None:
    for node in NODES:
        inference_worker(node)
    own = direct_name(preferred(acme, NODES))
    assert route(acme, broker.redis) == own
    job = rows.job(acme)
    dispatch.admit("job", acme)
    assert broker.rows(own) == [(job, 1)]
    assert broker.rows(COMMON_QUEUE) == []


def test_a_worker_whose_engine_loads_is_preferred_by_nobody(broker: Broker, acme: str) -> None:
    for node in NODES:
        inference_worker(node, ready=node != preferred(acme, NODES))
    assert route(acme, broker.redis) == COMMON_QUEUE


def test_what_came_to_nothing_goes_to_whoever_is_free(broker: Broker, acme: str) -> None:
    for node in NODES:
        inference_worker(node)
    lost_its_worker = rows.claimable(JOB, acme, history=[{"reason": "worker lost"}])
    unheard_of = rows.claimable(JOB, acme, publications=2)
    for key in (lost_its_worker, unheard_of):
        dispatch.publish(JOB, [rows.get(Job, key)])
    assert sorted(broker.rows(COMMON_QUEUE)) == sorted([(lost_its_worker, 1), (unheard_of, 1)])


def test_a_long_direct_queue_spills_into_the_common_one(broker: Broker, acme: str) -> None:
    for node in NODES:
        inference_worker(node)
    own = direct_name(preferred(acme, NODES))
    for _ in range(SPILL_DEPTH + 2):
        rows.job(acme)
    dispatch.admit("job", acme)
    assert len(broker.rows(own)) == SPILL_DEPTH
    assert len(broker.rows(COMMON_QUEUE)) == 2


def test_the_jobs_of_a_dead_worker_are_hinted_to_another(
    broker: Broker, here: Presence, acme: str
) -> None:
    for node in NODES:
        inference_worker(node)
    own = preferred(acme, NODES)
    job = rows.job(acme)
    dispatch.admit("job", acme)
    assert broker.rows(direct_name(own)) == [(job, 1)]
    with operator_session() as session:
        session.execute(update(Worker).where(Worker.node == own).values(heartbeat_at=rows.ago(61)))
    rows.change(Job, job, published_at=rows.ago(6))
    routing.live_workers.forget()
    reconciler.reconcile()
    assert rows.get(Job, job).status == JOB.claimable[0]
    assert broker.rows(COMMON_QUEUE) == [(job, 1)], "one worker is left: the common queue is its"
    assert broker.rows(direct_name(own)) == [], "what lay in the dead one's queue is dropped"


def test_a_database_that_is_away_costs_the_preference_and_nothing_else(
    broker: Broker, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    def away() -> tuple[str, ...]:
        raise OperationalError("select", {}, Exception("gone"))

    monkeypatch.setattr(routing, "_ready_nodes", away)
    assert route(acme, broker.redis) == COMMON_QUEUE
