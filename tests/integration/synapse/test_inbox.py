"""Receipts are written once, and what is set aside keeps its fields."""

from __future__ import annotations

from sqlalchemy import select

from database.models import DeadLetter
from database.session import operator_session
from synapse.inbox import Receipt, record, set_aside


def receipt(event_id: str) -> Receipt:
    return Receipt(event_id, "model-events", "1-1", "applied")


def test_only_new_receipts_are_returned() -> None:
    with operator_session() as session:
        assert record(session, [receipt("b"), receipt("a")]) == {"a", "b"}
    with operator_session() as session:
        assert record(session, [receipt("a"), receipt("c")]) == {"c"}
        assert record(session, []) == set()


def test_a_company_that_is_not_there_does_not_keep_an_event_from_being_set_aside(
    company: str,
) -> None:
    for event_id, owner in (("a", company), ("b", "nobody"), ("c", None)):
        with operator_session() as session:
            set_aside(session, receipt(event_id), "why", {"type": "x"}, owner, [])
    with operator_session() as session:
        found = session.scalars(select(DeadLetter).order_by(DeadLetter.reference)).all()
    assert [row.company_id for row in found] == [company, None, None]
    assert found[0].payload == {"entry_id": "1-1", "outcome": "applied", "fields": {"type": "x"}}
