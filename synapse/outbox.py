"""Announcing: an event's row commits with the change that it announces, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta
from typing import cast

from redis import Redis, RedisError
from sqlalchemy import Table, exists, func, insert, update
from sqlalchemy.orm import Session

from database.base import Json, new_id
from database.models import Inbox, Outbox
from synapse import wire
from synapse.envelope import Envelope
from synapse.streams import CONSUMED, WAKE_KEY
from synapse.trim import keep_seconds

log = logging.getLogger(__name__)

SOURCE = "cyrex"


def ready_event_id(adapter_id: str) -> str:
    """The id of the one event that announces an adapter."""
    return f"{adapter_id}:ready"


def announce(
    session: Session,
    stream: str,
    type: str,  # noqa: A002 - the envelope's word
    company_id: str | None,
    data: Json,
    correlation_id: str | None = None,
    event_id: str | None = None,
    source: str = SOURCE,
) -> Envelope:
    """Write an event into the outbox of the caller's transaction.

    Call `wake` after the commit. Raises `EnvelopeInvalid` (a `ValueError`) for an event that does
    not belong on `stream`; the session fails at its next flush for an `event_id` announced before.
    """
    envelope = event(stream, type, company_id, data, correlation_id, event_id, source)
    session.add(Outbox(**row_of(stream, envelope)))
    return envelope


def event(
    stream: str,
    type: str,  # noqa: A002 - the envelope's word
    company_id: str | None,
    data: Json,
    correlation_id: str | None = None,
    event_id: str | None = None,
    source: str = SOURCE,
) -> Envelope:
    """The event that `announce` writes. Raises `EnvelopeInvalid`."""
    if not wire.storable(data):
        raise wire.EnvelopeInvalid("data: holds a NUL or a half surrogate, which cannot be stored")
    own_id = event_id or new_id()
    return Envelope.of(
        stream,
        {
            "event_id": own_id,
            "type": type,
            "company_id": company_id,
            "source": source,
            "correlation_id": correlation_id or own_id,
            "data": data,
        },
    )


def row_of(stream: str, envelope: Envelope) -> Json:
    """The columns of an event's outbox row."""
    return {
        "event_id": envelope.event_id,
        "company_id": envelope.company_id,
        "stream": stream,
        "envelope": envelope.model_dump(mode="json"),
    }


# Into the table and not the model, whose way to insert asks for each row's id and costs twice.
INSERT = insert(cast(Table, Outbox.__table__)).inline()


def announce_all(session: Session, stream: str, envelopes: Collection[Envelope]) -> None:
    """Write many events in one statement."""
    if envelopes:
        session.execute(INSERT, [row_of(stream, envelope) for envelope in envelopes])


def wake(redis: Redis) -> None:
    """Tell the relay, after the commit, that the outbox holds something. Never raises.

    A lost call costs the relay's polling interval.
    """
    try:
        pipe = redis.pipeline(transaction=False)
        pipe.lpush(WAKE_KEY, 1)
        # One element says it all, however many events nobody has fetched yet.
        pipe.ltrim(WAKE_KEY, 0, 0)
        pipe.execute()
    except (RedisError, OSError) as error:
        log.debug("relay not woken: %s", error)


def republish(session: Session, after_seconds: float, within_seconds: float | None = None) -> int:
    """Have the relay publish again what was published long ago and has reached no inbox.

    For the reconciler, in an operator's session: a stream that lost its entries gets them back.
    Returns how many events. Looks no further back than `within_seconds`, and never beyond a
    stream's own memory, so that an inbox that was tidied up does not bring old events back.
    """
    oldest = min(keep_seconds(), within_seconds or keep_seconds())
    seen = exists().where(Inbox.event_id == Outbox.event_id)
    ids = session.scalars(
        update(Outbox)
        .where(
            Outbox.stream.in_(CONSUMED),
            Outbox.published_at < func.now() - timedelta(seconds=after_seconds),
            Outbox.published_at > func.now() - timedelta(seconds=oldest),
            ~seen,
        )
        .values(published_at=None)
        .returning(Outbox.id)
        .execution_options(synchronize_session=False)
    )
    return len(ids.all())
