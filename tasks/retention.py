"""How long rows that only served delivery are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete

from database.models import IdempotencyKey, Inbox, Outbox
from database.session import operator_session

# The inbox outlives the streams' entries, or an old entry read again would have a second effect.
INBOX_AGE = timedelta(days=30)
OUTBOX_AGE = timedelta(days=7)


def apply() -> None:
    """Delete what is past its age."""
    now = datetime.now(UTC)
    with operator_session() as session:
        session.execute(delete(Inbox).where(Inbox.received_at < now - INBOX_AGE))
        session.execute(
            delete(Outbox).where(
                Outbox.published_at.is_not(None), Outbox.published_at < now - OUTBOX_AGE
            )
        )
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.expires_at < now))
