"""An event that was set aside is sent again, unless it has had its effect."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from database.models import Inbox, Outbox
from database.session import operator_session
from synapse.envelope import Envelope
from synapse.outbox import event
from synapse.payloads import MODEL_EVENT
from synapse.replay import NotReplayable, envelope_of, replay
from synapse.streams import MODEL_EVENTS


def heard(company_id: str, outcome: str) -> Envelope:
    envelope = event(MODEL_EVENTS, MODEL_EVENT, company_id, {"event": "loaded"})
    with operator_session() as session:
        receipt = {"stream": MODEL_EVENTS, "entry_id": "1-1", "outcome": outcome}
        session.add(Inbox(event_id=envelope.event_id, **receipt))
    return envelope


def test_it_is_forgotten_and_published_anew(company: str) -> None:
    envelope = heard(company, "gave_up")
    for _ in range(2):  # the second time its row is there already
        with operator_session() as session:
            replay(session, MODEL_EVENTS, envelope)
    with operator_session() as session:
        (row,) = session.scalars(select(Outbox)).all()
        assert session.get(Inbox, envelope.event_id) is None
    assert (row.event_id, row.published_at) == (envelope.event_id, None)
    assert envelope_of(MODEL_EVENTS, envelope.to_fields()) == envelope


def test_what_had_its_effect_is_not_sent_again(company: str) -> None:
    envelope = heard(company, "applied")
    with operator_session() as session, pytest.raises(NotReplayable, match="had its effect"):
        replay(session, MODEL_EVENTS, envelope)


def test_a_company_must_be_there() -> None:
    envelope = event(MODEL_EVENTS, MODEL_EVENT, "nobody", {"event": "loaded"})
    with operator_session() as session, pytest.raises(NotReplayable, match="no company 'nobody'"):
        replay(session, MODEL_EVENTS, envelope)


def test_what_is_no_event_says_so() -> None:
    with pytest.raises(NotReplayable, match="publish a corrected one"):
        envelope_of(MODEL_EVENTS, {"type": "other"})
