"""Retention: deletes rows that have done their work. Each age is a setting, in days.

Deleted in batches, each a transaction of its own: no lock is held for long, and a run that is cut
off has done a part. Checkpoints and blobs have a sweep of their own (`maintenance.sweep`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Select, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

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
from database.transitions import JOB, TOOL_CALL
from settings import get_settings

log = structlog.get_logger()

BATCH = 1000
# Longest time for one table in a run; runs come every hour, and a backlog takes several.
TABLE_SECONDS = 300.0

# Deletes or empties one batch of rows; returns how many.
Batch = Callable[[Session], int]


def apply() -> dict[str, int]:
    """Delete what is past its age; returns how many rows, by what they are."""
    done = {name: _in_batches(batch) for name, batch in _batches().items()}
    found = {name: number for name, number in done.items() if number}
    if found:
        log.info("retention", **found)
    return done


def _batches() -> dict[str, Batch]:
    settings = get_settings()
    inbox, outbox = _before(settings.inbox_days), _before(settings.outbox_days)
    letters, calls = _before(settings.dead_letter_days), _before(settings.tool_call_days)
    open_letters = _before(settings.open_dead_letter_days)
    memories, payloads = _before(settings.memory_days), _before(settings.job_payload_days)
    ended_calls = (
        select(ToolCall.call_id)
        .join(Job, Job.job_id == ToolCall.job_id)
        # A job that is not over asks for what its calls have brought.
        .where(
            ToolCall.status.in_(TOOL_CALL.terminal),
            Job.status.in_(JOB.terminal),
            ToolCall.updated_at < calls,
        )
    )
    return {
        "inbox": _deletes(Inbox.event_id, select(Inbox.event_id).where(Inbox.received_at < inbox)),
        "outbox": _deletes(Outbox.id, select(Outbox.id).where(Outbox.published_at < outbox)),
        "idempotency_keys": _deletes(
            IdempotencyKey.id,
            select(IdempotencyKey.id).where(IdempotencyKey.expires_at < func.now()),
        ),
        "dead_letters": _deletes(
            DeadLetter.id,
            select(DeadLetter.id).where(
                or_(
                    DeadLetter.replayed_at < letters,
                    and_(DeadLetter.replayed_at.is_(None), DeadLetter.created_at < open_letters),
                )
            ),
        ),
        "tool_calls": _deletes(ToolCall.call_id, ended_calls),
        "memories": _deletes(
            CompanyMemory.memory_id,
            select(CompanyMemory.memory_id).where(CompanyMemory.created_at < memories),
        ),
        "job_payloads": lambda session: _remove_payloads(session, payloads),
    }


def _before(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def _deletes(key: Any, old: Select[Any]) -> Batch:
    """Deletes the rows whose keys `old` selects."""

    def batch(session: Session) -> int:
        chosen = old.limit(BATCH)
        gone = session.scalars(
            delete(key.class_)
            .where(key.in_(chosen))
            .returning(key)
            .execution_options(synchronize_session=False)
        )
        return len(gone.all())

    return batch


def _remove_payloads(session: Session, before: datetime) -> int:
    """Empty old jobs of what they were asked and what they answered; the rows stay."""
    old = (
        select(Job.job_id)
        .where(
            Job.completed_at < before,
            Job.payload_removed_at.is_(None),
            Job.status.in_(JOB.terminal),
        )
        .limit(BATCH)
    )
    emptied = session.scalars(
        update(Job)
        .where(Job.job_id.in_(old))
        .values(input_data={"data": None}, output_data=None, payload_removed_at=func.now())
        .returning(Job.job_id)
        .execution_options(synchronize_session=False)
    ).all()
    for table in (JobStep, ToolCall):
        session.execute(
            delete(table)
            .where(table.job_id.in_(emptied))
            .execution_options(synchronize_session=False)
        )
    return len(emptied)


def _in_batches(batch: Batch) -> int:
    done = 0
    ends = time.monotonic() + TABLE_SECONDS
    while True:
        with operator_session() as session:
            number = batch(session)
        done += number
        if number < BATCH or time.monotonic() >= ends:
            return done
