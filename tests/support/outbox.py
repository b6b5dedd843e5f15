"""The events that reached Redis, and those that did not yet."""

from __future__ import annotations

from typing import Any

from redis import Redis
from sqlalchemy import func, select

from database.models import Outbox
from database.session import operator_session
from synapse.envelope import Envelope
from synapse.streams import MODEL_EVENTS


def published(redis: Redis, stream: str = MODEL_EVENTS) -> list[str]:
    entries: Any = redis.xrange(stream)
    return [Envelope.parse(stream, fields).event_id for _, fields in entries]


def unpublished() -> int:
    with operator_session() as session:
        return session.scalars(
            select(func.count()).select_from(Outbox).where(Outbox.published_at.is_(None))
        ).one()
