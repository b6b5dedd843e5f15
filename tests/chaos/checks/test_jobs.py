"""Planted among jobs and calls of tools: each fault by its kind."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, func, update

from cyrex.jobs import service as jobs
from database.models import (
    CompanyMemory,
    DeadLetter,
    Job,
    JobStep,
    Usage,
)
from database.session import operator_session
from tests.chaos.ledger import Asked
from tests.chaos.plan import IDEMPOTENT, ONCE
from tests.chaos.tools import Arrival
from tests.chaos.world import CLEAN, World, found


@pytest.mark.parametrize("table", [JobStep, CompanyMemory, Usage])
def test_a_completed_job_without_its_effects_is_lost(world: World, table: Any) -> None:
    world.job()
    with operator_session() as session:
        session.execute(delete(table))
    assert world.counts()["lost"] == 1


def test_a_failed_job_is_lost(world: World) -> None:
    world.job(status="failed", error={"code": "gave_up"})
    assert world.counts() == found(lost=1)


def test_two_answers_of_one_job_are_doubled(world: World) -> None:
    job_id = world.job()
    with operator_session() as session:
        of = {"company_id": world.company, "job_id": job_id}
        session.add(JobStep(**of, number=2, kind="answer", content={}))
    assert world.counts() == found(doubled=1)


def test_an_end_announced_twice_is_doubled(world: World) -> None:
    job_id = world.job()
    with operator_session() as session:
        jobs.end(session, session.get_one(Job, job_id))
    assert world.counts() == found(doubled=1)


def test_a_replayed_job_has_ended_before(world: World) -> None:
    job_id = world.job()
    with operator_session() as session:
        jobs.end(session, session.get_one(Job, job_id))
        letter = DeadLetter(kind="job", reference=job_id, reason="worker lost")
        session.add(letter)
    assert world.counts()["doubled"] == 1, "it was set aside, and nobody had it go on"
    with operator_session() as session:
        session.execute(update(DeadLetter).values(replayed_at=func.now()))
    assert world.counts()["doubled"] == 0


def test_an_answer_after_a_cancel_is_doubled(world: World) -> None:
    world.job("cancelled")
    asked = world.asked[0]
    world.asked = [Asked(**{**vars(asked), "answer": "cancelled"})]
    assert world.counts() == found(doubled=1)


def test_a_tool_called_twice_is_doubled(world: World) -> None:
    world.call(ONCE)
    world.arrivals.append(world.arrivals[0])
    assert world.counts() == found(doubled=1)


def test_an_idempotent_tool_may_be_called_twice_under_one_key(world: World) -> None:
    world.call(IDEMPOTENT)
    again = world.arrivals[0]
    world.arrivals.append(again)
    assert world.counts() == CLEAN
    world.arrivals.append(Arrival(again.company, again.order, "another key", again.at))
    assert world.counts() == found(doubled=1)


@pytest.mark.parametrize("company", [ONCE, IDEMPOTENT])
def test_a_completed_call_that_never_arrived_is_lost(world: World, company: str) -> None:
    world.call(company)
    world.arrivals.clear()
    assert world.counts() == found(lost=1)


def test_an_unknown_outcome_is_honest_only_where_a_call_must_not_be_repeated(
    world: World,
) -> None:
    world.call(ONCE, "unknown")
    assert world.counts() == CLEAN
    world.call(IDEMPOTENT, "unknown")
    assert world.counts() == found(lost=1)
