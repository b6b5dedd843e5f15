"""The audit finds what is planted: each fault by its kind, and nothing where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import delete, func, select, update

from cyrex import jobs
from cyrex.training import blob_store
from database.base import new_id
from database.models import (
    Company,
    CompanyMemory,
    DeadLetter,
    Decision,
    Inbox,
    Job,
    JobStep,
    LoraAdapter,
    Outbox,
    ToolCall,
    TrainingRun,
    Usage,
)
from database.session import operator_session
from modelkit.directory_blobs import DirectoryBlobs
from tests import rows as made
from tests.chaos.audit import Sources, audit
from tests.chaos.ledger import Asked
from tests.chaos.plan import IDEMPOTENT, ONCE
from tests.chaos.rows import Rows
from tests.chaos.tools import Arrival

CLEAN = {"lost": 0, "doubled": 0, "orphans": 0, "stuck": 0}


class World:
    """A small past, as the product would have left it, and the ledger beside it."""

    def __init__(self, url: str, redis_url: str, folder: Path) -> None:
        self.rows = Rows(url)
        self.streams = redis.Redis.from_url(redis_url)
        self.blobs = DirectoryBlobs(folder / "blobs")
        self.work = folder / "work"
        self.asked: list[Asked] = []
        self.arrivals: list[Arrival] = []
        self.versions: list[tuple[str, int, str]] = []
        self.flushes: list[float] = []
        self.company = made.company()

    def job(self, kind: str = "job", company: str = "", **values: Any) -> str:
        """A job that was asked for and has completed in every respect."""
        company = company or self.company
        marker = new_id()
        job_id = made.job(company, status="completed", details={"marker": marker})
        made.change(Job, job_id, **{"output_data": {"result": "yes"}, **values})
        of = {"company_id": company, "job_id": job_id}
        with operator_session() as session:
            session.add(JobStep(**of, number=1, kind="answer", content={}))
            session.add(CompanyMemory(**of, kind="result", content="yes"))
            session.add(Usage(company_id=company, kind="job", reference=job_id))
            jobs.end(session, session.get_one(Job, job_id))
        self.asked.append(Asked(kind, company, marker, job_id, time.time()))
        return job_id

    def call(self, company: str, status: str = "completed") -> ToolCall:
        """A job of `company` with a call that arrived."""
        job_id = self.job("tool_once" if company == ONCE else "tool_idempotent", company)
        order = new_id()
        row = ToolCall(
            call_id=new_id(),
            company_id=company,
            job_id=job_id,
            tool_name="get_order",
            arguments={"order_id": order},
            status=status,
            step="call",
            sent_at=func.now(),
        )
        with operator_session() as session:
            session.add(row)
        key = row.call_id if company == IDEMPOTENT else None
        self.arrivals.append(Arrival(company, order, key, time.time()))
        return row

    def adapter(self) -> str:
        adapter_id = made.adapter(
            self.company, status="ready", sha256="a" * 64, registry_path="models/x"
        )
        row = made.get(LoraAdapter, adapter_id)
        with operator_session() as session:
            of = {"company_id": self.company, "adapter_id": adapter_id}
            session.add(Decision(**of, outcome="promoted", reason="better"))
        self.versions.append((self.company, row.version, "a" * 64))
        return adapter_id

    def counts(self) -> dict[str, int]:
        """The audit's, once every event has been carried and read."""
        self.settle()
        return self.look()

    def settle(self) -> None:
        with operator_session() as session:
            session.execute(update(Outbox).values(published_at=func.now()))
            seen = select(Inbox.event_id)
            for event_id, stream in session.execute(
                select(Outbox.event_id, Outbox.stream).where(Outbox.event_id.not_in(seen))
            ):
                session.add(
                    Inbox(event_id=event_id, stream=stream, entry_id="1-0", outcome="applied")
                )

    def look(self) -> dict[str, int]:
        report = audit(
            Sources(
                rows=self.rows,
                streams=self.streams,
                asked=self.asked,
                arrivals=self.arrivals,
                versions=self.versions,
                blobs=self.blobs.root,
                work=self.work,
                flushes=self.flushes,
            )
        )
        return report.counts()


@pytest.fixture
def world(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[World]:
    """Every test has a past of its own in the module's database."""
    with operator_session() as session:
        for table in ("companies", "outbox", "inbox", "dead_letters"):
            session.connection().exec_driver_sql(f"DELETE FROM {table}")
        for company in (ONCE, IDEMPOTENT):
            session.add(Company(company_id=company, name=company))
    world = World(database_url, redis_url, tmp_path)
    world.streams.flushdb()
    yield world
    world.rows.close()


def found(**kinds: int) -> dict[str, int]:
    return {**CLEAN, **kinds}


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


@pytest.mark.parametrize("table", [JobStep, CompanyMemory, Usage])
def test_a_completed_job_without_its_effects_is_lost(world: World, table: Any) -> None:
    world.job()
    with operator_session() as session:
        session.execute(delete(table))
    assert world.counts()["lost"] == 1


def test_a_failed_job_is_lost(world: World) -> None:
    world.job(status="failed", error={"code": "gave_up"})
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


def test_an_answer_after_a_cancel_is_doubled(world: World) -> None:
    world.job("cancelled")
    asked = world.asked[0]
    world.asked = [Asked(**{**vars(asked), "answer": "cancelled"})]
    assert world.counts() == found(doubled=1)


def test_work_that_nobody_asked_for_is_doubled(world: World) -> None:
    world.job()
    world.asked.clear()
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


def test_registry_and_rows_must_name_each_other(world: World) -> None:
    world.adapter()
    world.versions.append((world.company, 77, "b" * 64))
    assert world.counts() == found(orphans=1)
    world.versions.clear()
    assert world.counts() == found(lost=1)


def test_an_adapter_decided_twice_is_doubled(world: World) -> None:
    adapter_id = world.adapter()
    with operator_session() as session:
        of = {"company_id": world.company, "adapter_id": adapter_id}
        session.add(Decision(**of, outcome="rejected", reason="worse"))
    assert world.counts() == found(doubled=1)


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


def test_a_training_without_its_adapter_is_lost(world: World) -> None:
    request_id = made.run(world.company, status="succeeded")
    world.asked.append(Asked("training", world.company, request_id, request_id, time.time()))
    world.blobs = blob_store()
    assert world.counts()["lost"] == 1
    made.change(TrainingRun, request_id, status="failed", error={"code": "gave_up"})
    assert world.counts()["lost"] == 1


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
        jobs.updated(session, session.get_one(Job, job_id))
    # The end was announced twice as well; here only the outbox is looked at.
    assert world.look()["stuck"] == 1


def test_entries_and_messages_left_are_stuck(world: World) -> None:
    stream = "company_automation_jobs"
    world.streams.xgroup_create(stream, "cyrex", id="0", mkstream=True)
    world.streams.xadd(stream, {"a": "b"})
    world.streams.xreadgroup("cyrex", "c", {stream: ">"})
    world.streams.lpush("inference\x06\x163", "a message")
    assert world.counts() == found(stuck=2)


def test_poison_is_set_aside_once(world: World) -> None:
    asked = Asked("poison", world.company, "the-poison", "the-poison", time.time(), copies=3)
    world.asked.append(asked)
    assert world.counts() == found(lost=1)
    for count in (1, 2):
        with operator_session() as session:
            session.add(DeadLetter(kind="x", reference="the-poison", reason="refused"))
        assert world.counts() == (CLEAN if count == 1 else found(doubled=1))
