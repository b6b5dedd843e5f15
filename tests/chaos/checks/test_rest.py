"""Planted where nothing should wait or lie about: each fault by its kind."""

from __future__ import annotations

import time

import pytest

from cyrex.work.news import updated
from database.models import (
    Job,
)
from database.session import operator_session
from tests.chaos.ledger import Asked
from tests.chaos.world import World, found
from tests.support import rows as made


def test_blobs_and_files_without_an_owner_are_orphans(world: World) -> None:
    world.blobs.put_bytes(b"nobody's")
    (world.blobs.root / ".incoming" / "half").write_bytes(b"a")
    (world.work / "ended").mkdir(parents=True)
    assert world.counts() == found(orphans=3)


def test_a_blob_that_a_row_names_must_be_there(world: World) -> None:
    request_id = made.run(world.company, status="cancelled")
    world.asked.append(
        Asked("training_cancelled", world.company, request_id, request_id, time.time())
    )
    # The row's dataset lies in the product's own store, and not in this one.
    assert world.counts() == found(lost=1)


@pytest.mark.parametrize("kind", ["queued", "admitted", "running", "waiting"])
def test_a_row_that_has_not_ended_is_stuck(world: World, kind: str) -> None:
    job_id = world.job()
    made.change(Job, job_id, status=kind)
    assert world.counts() == found(stuck=1)


def test_a_lease_that_nobody_gave_back_is_stuck(world: World) -> None:
    job_id = world.job()
    made.change(Job, job_id, lease_owner="somebody")
    assert world.counts() == found(stuck=1)


def test_an_event_that_was_not_carried_or_not_read_is_stuck(world: World) -> None:
    job_id = world.job()
    world.settle()
    with operator_session() as session:
        updated(session, session.get_one(Job, job_id))
    # The end was announced twice as well; here only the outbox is looked at.
    assert world.look()["stuck"] == 1


def test_entries_and_messages_left_are_stuck(world: World) -> None:
    stream = "company_automation_jobs"
    world.streams.xgroup_create(stream, "cyrex", id="0", mkstream=True)
    world.streams.xadd(stream, {"a": "b"})
    world.streams.xreadgroup("cyrex", "c", {stream: ">"})
    world.streams.lpush("inference\x06\x163", "a message")
    assert world.counts() == found(stuck=2)
