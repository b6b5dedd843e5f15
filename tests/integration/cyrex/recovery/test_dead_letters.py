"""Dead letters are listed, shown and replayed once."""

from __future__ import annotations

from typing import Any

import pytest

from cyrex.errors import Conflict, NotFound
from cyrex.recovery import dead_letters
from database.models import DeadLetter, Job
from database.session import operator_session
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")


def letter(kind: str = "job", reference: str = "none", **values: Any) -> str:
    with operator_session() as session:
        row = DeadLetter(kind=kind, reference=reference, reason="it broke", **values)
        session.add(row)
        session.flush()
        return row.id


def replay(letter_id: str) -> dead_letters.Replay:
    with operator_session() as session:
        return dead_letters.replay(session, letter_id, by="ops")


def test_letters_are_listed_newest_first_and_by_page() -> None:
    company_id = rows.company()
    ids = [letter(company_id=company_id) for _ in range(3)]
    done = letter(company_id=company_id, replayed_at=rows.ago(1))

    def listed(**which: Any) -> list[str]:
        with operator_session() as session:
            found = dead_letters.list_dead_letters(session, company_id=company_id, **which)
            return [row.id for row in found]

    assert listed() == [done, *reversed(ids)]
    assert listed(replayed=True) == [done]
    assert listed(replayed=False, limit=2) == [ids[2], ids[1]]
    assert listed(after=ids[1]) == [ids[0]]
    assert listed(kind="training") == []


def test_a_letter_that_is_not_there_is_not_found() -> None:
    with operator_session() as session, pytest.raises(NotFound):
        dead_letters.get_dead_letter(session, "none")
    with pytest.raises(NotFound):
        replay("none")


def test_a_failed_job_is_taken_back_once() -> None:
    company_id = rows.company()
    job_id = rows.job(company_id, status="failed", attempt=3)
    letter_id = letter(reference=job_id, company_id=company_id, payload={"attempt": 2})
    first = replay(letter_id)
    assert (first.fresh, first.admit) == (True, ("job", company_id))
    assert rows.get(Job, job_id).status == "queued"
    assert not replay(letter_id).fresh
    view = dead_letters.dead_letter_view(rows.get(DeadLetter, letter_id))
    assert view["replayed_at"] is not None
    assert [entry["by"] for entry in view["history"]] == ["ops"]


def test_what_cannot_be_replayed_says_why_and_stays_open() -> None:
    company_id = rows.company()
    moved = rows.job(company_id, status="completed", attempt=3)
    for letter_id, why in (
        (letter(), "any more"),
        (letter(reference=moved, payload={"attempt": 2}), "completed"),
        (letter("elsewhere"), "nothing here reads"),
        (letter("lora_adapter_ready", payload={"outcome": "invalid"}), "no event"),
    ):
        with pytest.raises(Conflict, match=why):
            replay(letter_id)
        assert rows.get(DeadLetter, letter_id).replayed_at is None
