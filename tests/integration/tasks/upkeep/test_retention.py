"""What has done its work is deleted when it is old, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import func, select, update

import celeryconfig
from cyrex.jobs import service as jobs
from database.base import new_id
from database.models import (
    CompanyMemory,
    DeadLetter,
    IdempotencyKey,
    Inbox,
    Job,
    JobStep,
    Outbox,
    ToolCall,
)
from database.session import operator_session
from settings import SettingsError, get_settings
from synapse.trim import keep_seconds
from tasks.upkeep import retention
from tests.support import rows

DAY = 24 * 3600.0
MINUTE = 60.0


@pytest.fixture(autouse=True)
def database(database_url: str) -> Iterator[None]:
    yield
    with operator_session() as session:
        for model in (Inbox, Outbox, IdempotencyKey, DeadLetter):
            session.execute(model.__table__.delete())


@pytest.fixture
def acme() -> str:
    return rows.company()


def left(column: Any) -> set[Any]:
    with operator_session() as session:
        return set(session.scalars(select(column)))


def around(days: float) -> tuple[datetime, datetime]:
    """A little younger and a little older than so many days."""
    return rows.ago(days * DAY - MINUTE), rows.ago(days * DAY + MINUTE)


def add(*made: Any) -> None:
    with operator_session() as session:
        session.add_all(made)


def test_it_is_scheduled() -> None:
    tick = celeryconfig.beat_schedule["retention"]
    assert (tick["task"], tick["schedule"]) == ("maintenance.apply_retention", 3600.0)


def test_the_inbox_outlives_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_settings().inbox_days * DAY > keep_seconds()
    moments = dict(zip(("young", "old"), around(get_settings().inbox_days), strict=True))
    for event_id, at in moments.items():
        add(Inbox(event_id=event_id, stream="s", entry_id="1", outcome="applied", received_at=at))
    assert retention.apply()["inbox"] == 1
    assert left(Inbox.event_id) == {"young"}

    get_settings.cache_clear()
    monkeypatch.setenv("INBOX_DAYS", "1")
    with pytest.raises(SettingsError, match="INBOX_DAYS: must be more than STREAM_DAYS, 1"):
        get_settings()
    monkeypatch.undo()
    get_settings.cache_clear()


def test_an_event_that_was_never_sent_is_kept(acme: str) -> None:
    unsent, young, old = (rows.run(acme) for _ in range(3))
    moments = around(get_settings().outbox_days)
    with operator_session() as session:
        session.execute(update(Outbox).values(created_at=rows.ago(1000 * DAY)))
        for event_id, published in zip((young, old), moments, strict=True):
            session.execute(
                update(Outbox).where(Outbox.event_id == event_id).values(published_at=published)
            )
    retention.apply()
    assert left(Outbox.event_id) == {unsent, young}


def test_an_expired_answer_is_forgotten() -> None:
    for key, age in (("kept", -3600), ("expired", 3600)):
        add(
            IdempotencyKey(
                owner="a", route="POST /x", key=key, body_sha256="x", expires_at=rows.ago(age)
            )
        )
    retention.apply()
    assert left(IdempotencyKey.key) == {"kept"}


def test_dead_letters_go_some_time_after_their_replay_or_long_after_nobody_cared() -> None:
    young, old = around(get_settings().dead_letter_days)
    open_young, open_old = around(get_settings().open_dead_letter_days)
    for reference, created, replayed in (
        ("open", open_young, None),
        ("forgotten", open_old, None),
        ("young", open_old, young),
        ("old", open_young, old),
    ):
        add(
            DeadLetter(
                kind="job",
                reference=reference,
                reason="x",
                created_at=created,
                replayed_at=replayed,
            )
        )
    retention.apply()
    assert left(DeadLetter.reference) == {"open", "young"}


def test_memories_fade(acme: str) -> None:
    for content, at in zip(("young", "old"), around(get_settings().memory_days), strict=True):
        add(CompanyMemory(company_id=acme, kind="result", content=content, created_at=at))
    retention.apply()
    assert left(CompanyMemory.content) == {"young"}


@pytest.mark.parametrize(
    ("call", "job", "kept"),
    [
        ("completed", "completed", False),
        ("unknown", "failed", False),
        ("completed", "waiting", True),  # its job asks what it brought
        ("running", "completed", True),
    ],
)
def test_tool_calls_go_when_they_and_their_jobs_have_ended(
    acme: str, call: str, job: str, kept: bool
) -> None:
    _, old = around(get_settings().tool_call_days)
    call_id = rows.tool_call(acme, status=call)
    rows.change(Job, rows.get(ToolCall, call_id).job_id, status=job)
    rows.change(ToolCall, call_id, updated_at=old)
    young = rows.tool_call(acme, status="completed")
    rows.change(Job, rows.get(ToolCall, young).job_id, status="completed")
    retention.apply()
    assert left(ToolCall.call_id) >= {young}
    assert (call_id in left(ToolCall.call_id)) == kept


def ended_job(acme: str, completed_at: datetime | None, status: str = "completed") -> str:
    job_id = rows.job(acme, {"input": "secret question"}, status=status)
    answer = {"result": "secret answer"}
    rows.change(Job, job_id, output_data=answer, completed_at=completed_at)
    add(
        JobStep(company_id=acme, job_id=job_id, number=1, kind="answer", content={"text": "secret"})
    )
    return job_id


def test_old_jobs_lose_their_payloads_and_keep_their_rows(acme: str) -> None:
    young_at, old_at = around(get_settings().job_payload_days)
    young, old = ended_job(acme, young_at), ended_job(acme, old_at)
    at_work = ended_job(acme, None, "running")
    assert retention.apply()["job_payloads"] == 1
    row = rows.get(Job, old)
    view = jobs.job_view(row)
    assert "secret" not in str(rows.columns(row)) + str(view)
    assert (view["status"], view["data"], view["result"]) == ("completed", None, None)
    assert view["payload_removed_at"] is not None
    for kept in (young, at_work):
        assert jobs.job_view(rows.get(Job, kept))["result"] == "secret answer"
        assert rows.get(Job, kept).payload_removed_at is None
    assert left(JobStep.job_id) == {young, at_work}
    assert retention.apply()["job_payloads"] == 0, "once is enough"


def test_a_backlog_goes_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    _, old = around(get_settings().inbox_days)
    where = {"stream": "s", "entry_id": "1", "outcome": "applied", "received_at": old}
    add(*(Inbox(event_id=new_id(), **where) for _ in range(25)))
    with monkeypatch.context() as patch:
        patch.setattr(retention, "TABLE_SECONDS", 0.0)
        assert [retention.apply()["inbox"] for _ in range(4)] == [10, 10, 5, 0]
    # While there is time one run takes all, however much has come in an hour.
    add(*(Inbox(event_id=new_id(), **where) for _ in range(2_500)))
    assert retention.apply()["inbox"] == 2_500
    with operator_session() as session:
        assert session.scalar(select(func.count()).select_from(Inbox)) == 0
