"""What only served delivery is deleted when it is old, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from database.base import new_id
from database.models import IdempotencyKey, Inbox, Outbox
from database.session import operator_session
from synapse.trim import KEEP_SECONDS
from tasks import retention
from tests import rows


@pytest.fixture(autouse=True)
def database(database_url: str) -> None:
    pass


def left(column: Any) -> set[Any]:
    with operator_session() as session:
        return set(session.scalars(select(column)))


def test_the_inbox_outlives_the_streams() -> None:
    assert retention.INBOX_AGE.total_seconds() > KEEP_SECONDS
    young, old = new_id(), new_id()
    with operator_session() as session:
        for event_id, age in ((young, timedelta()), (old, retention.INBOX_AGE)):
            received = datetime.now(UTC) - age - timedelta(minutes=1)
            session.add(
                Inbox(
                    event_id=event_id,
                    stream="s",
                    entry_id="1-1",
                    outcome="applied",
                    received_at=received,
                )
            )
    retention.apply()
    assert left(Inbox.event_id) == {young}


def test_an_event_that_was_never_sent_is_kept() -> None:
    acme = rows.company()
    unsent, young, old = (rows.run(acme) for _ in range(3))
    past = datetime.now(UTC) - retention.OUTBOX_AGE - timedelta(minutes=1)
    with operator_session() as session:
        session.execute(update(Outbox).values(created_at=past))
        for event_id, published in ((young, datetime.now(UTC)), (old, past)):
            session.execute(
                update(Outbox).where(Outbox.event_id == event_id).values(published_at=published)
            )
    retention.apply()
    assert left(Outbox.event_id) == {unsent, young}


def test_an_expired_answer_is_forgotten() -> None:
    with operator_session() as session:
        for key, hours in (("kept", 1), ("expired", -1)):
            session.add(
                IdempotencyKey(
                    owner="acme",
                    route="POST /x",
                    key=key,
                    body_sha256="x",
                    expires_at=datetime.now(UTC) + timedelta(hours=hours),
                )
            )
    retention.apply()
    assert left(IdempotencyKey.key) == {"kept"}
