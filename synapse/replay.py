"""An event that was set aside, sent again: through the outbox, the relay and its stream."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from database.models import Company, Inbox, Outbox
from synapse.envelope import Envelope, EnvelopeInvalid


class NotReplayable(ValueError):
    """The event cannot be sent again. The message says why."""


def envelope_of(stream: str, fields: Mapping[str, str]) -> Envelope:
    """The event of a set-aside entry. Raises `NotReplayable` for one that is no event."""
    try:
        return Envelope.parse(stream, fields)
    except EnvelopeInvalid as error:
        raise NotReplayable(
            f"the entry is no event ({error.reason}); publish a corrected one"
        ) from None


def replay(session: Session, stream: str, envelope: Envelope) -> None:
    """Forget that the event was set aside and have the relay publish it, in the caller's
    transaction; call `synapse.outbox.wake` after its commit. Raises `NotReplayable`.

    From its stream on it is an event like any other, with one effect.
    """
    company_id = envelope.company_id
    if company_id is not None and session.get(Company, company_id) is None:
        raise NotReplayable(f"there is no company {company_id!r}; create it first")
    outcome = session.scalar(
        select(Inbox.outcome).where(Inbox.event_id == envelope.event_id).with_for_update()
    )
    if outcome == "applied":
        raise NotReplayable(f"event {envelope.event_id!r} has had its effect")
    session.execute(delete(Inbox).where(Inbox.event_id == envelope.event_id))
    statement = insert(Outbox).values(
        event_id=envelope.event_id,
        company_id=company_id,
        stream=stream,
        envelope=envelope.model_dump(mode="json"),
    )
    # The platform's own events are still there; an outsider's become ours to deliver.
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Outbox.event_id], set_={"published_at": None}
        )
    )
