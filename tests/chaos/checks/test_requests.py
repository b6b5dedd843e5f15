"""Planted among what was asked for: lost, doubled, beyond promise."""

from __future__ import annotations

import time

from database.models import (
    DeadLetter,
    Job,
)
from database.session import operator_session
from tests.chaos.ledger import Asked
from tests.chaos.plan import IDEMPOTENT, ONCE
from tests.chaos.world import CLEAN, World, found
from tests.support import rows as made


def test_nothing_is_found_where_all_is_well(world: World) -> None:
    world.job()
    world.job("event")
    world.call(ONCE)
    world.call(IDEMPOTENT)
    world.adapter()
    assert world.counts() == CLEAN


def test_a_job_that_is_nowhere_is_lost(world: World) -> None:
    world.asked.append(Asked("job", world.company, "the marker", "the id", time.time()))
    assert world.counts() == found(lost=1)


def test_an_outside_event_from_before_a_flush_is_beyond_promise(world: World) -> None:
    world.asked.append(Asked("event", world.company, "the marker", "the marker", time.time()))
    world.flushes = [time.time()]
    assert world.counts() == CLEAN
    world.flushes = [0.0]
    assert world.counts() == found(lost=1)


def test_silence_is_a_loss(world: World) -> None:
    asked = Asked("conversation", world.company, "the marker", "the id", time.time())
    world.asked.append(asked)
    assert world.counts() == CLEAN
    world.asked = [Asked(**{**vars(asked), "answer": "silence"})]
    assert world.counts() == found(lost=1)


def test_two_rows_for_one_request_are_doubled(world: World) -> None:
    world.job()
    asked = world.asked[0]
    second = world.job()
    world.asked.pop()
    made.change(Job, second, details={"marker": asked.marker})
    assert world.counts() == found(doubled=1)


def test_two_ids_for_one_key_are_doubled(world: World) -> None:
    world.job()
    asked = world.asked[0]
    world.asked.append(Asked("job", asked.company, asked.marker, "another id", asked.at))
    assert world.counts() == found(doubled=1)


def test_work_that_nobody_asked_for_is_doubled(world: World) -> None:
    world.job()
    world.asked.clear()
    assert world.counts() == found(doubled=1)


def test_poison_is_set_aside_once(world: World) -> None:
    asked = Asked("poison", world.company, "the-poison", "the-poison", time.time(), copies=3)
    world.asked.append(asked)
    assert world.counts() == found(lost=1)
    for count in (1, 2):
        with operator_session() as session:
            session.add(DeadLetter(kind="x", reference="the-poison", reason="refused"))
        assert world.counts() == (CLEAN if count == 1 else found(doubled=1))
