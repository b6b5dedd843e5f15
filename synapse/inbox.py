"""Receipts of events that had their effect, and events set aside; both join that transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from database.base import Json
from database.models import Company, DeadLetter

Outcome = Literal["applied", "refused", "invalid", "gave_up"]

# Sorted, so that two consumers with the same events wait for each other and never in a circle.
RECORD = text(
    """
    INSERT INTO inbox (event_id, stream, entry_id, outcome)
    SELECT * FROM unnest(
        CAST(:event_ids AS text[]), CAST(:streams AS text[]),
        CAST(:entry_ids AS text[]), CAST(:outcomes AS text[])
    ) AS row (event_id, stream, entry_id, outcome)
    ORDER BY event_id
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id
    """
)


@dataclass(frozen=True)
class Receipt:
    event_id: str
    stream: str
    entry_id: str
    outcome: Outcome


def record(session: Session, receipts: Sequence[Receipt]) -> set[str]:
    """Write the receipts; returns the event ids that were not there before."""
    rows = session.execute(
        RECORD,
        {
            "event_ids": [receipt.event_id for receipt in receipts],
            "streams": [receipt.stream for receipt in receipts],
            "entry_ids": [receipt.entry_id for receipt in receipts],
            "outcomes": [receipt.outcome for receipt in receipts],
        },
    )
    return set(rows.scalars())


def set_aside(
    session: Session,
    receipt: Receipt,
    reason: str,
    fields: dict[str, str],
    company_id: str | None,
    history: list[Json],
) -> None:
    """Keep an event that will have no effect, with its reason and its fields as they came."""
    known = company_id and session.scalar(
        select(Company.company_id).where(Company.company_id == company_id)
    )
    session.add(
        DeadLetter(
            kind=receipt.stream,
            reference=receipt.event_id,
            company_id=known or None,
            reason=reason,
            payload={"entry_id": receipt.entry_id, "outcome": receipt.outcome, "fields": fields},
            history=history,
        )
    )
