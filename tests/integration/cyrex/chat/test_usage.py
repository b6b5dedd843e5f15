"""Usage is written once, together, and later where the database is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from cyrex.chat import usage as conversation_usage
from cyrex.chat.usage import Meter, Recount, Used, write_usage
from database.models import Usage
from database.session import operator_session
from tests.support import rows
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def meter() -> Iterator[Meter]:
    found = Meter()
    found.start()
    yield found
    found.stop()


def metered(company_id: str) -> list[tuple[str, int, int]]:
    with operator_session() as session:
        found = session.scalars(select(Usage).where(Usage.company_id == company_id))
        return sorted((u.reference, u.prompt_tokens, u.completion_tokens) for u in found)


def test_each_answer_is_metered_once(meter: Meter) -> None:
    acme, globex = rows.company(), rows.company()
    for number in range(50):
        for company in (acme, globex):
            meter.add(Used(company, f"{company}-{number}", None, number, 2))
            meter.add(Used(company, f"{company}-{number}", None, 999, 999))
    meter.stop()
    assert metered(acme) == sorted((f"{acme}-{n}", n, 2) for n in range(50))
    assert len(metered(globex)) == 50


def test_what_the_database_does_not_take_is_written_later(
    meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = rows.company()
    tries: list[int] = []

    def flaky(company_id: str, used: Any) -> None:
        tries.append(len(used))
        if len(tries) < 3:
            raise OperationalError("insert", {}, Exception("gone"))
        write_usage(company_id, used)

    monkeypatch.setattr(conversation_usage, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(conversation_usage, "write_usage", flaky)
    meter.add(Used(acme, f"{acme}-late", None, 1, 2))
    eventually(lambda: metered(acme) == [(f"{acme}-late", 1, 2)])


def test_a_company_that_is_gone_costs_the_others_nothing(meter: Meter) -> None:
    acme = rows.company()
    meter.add(Used("deleted", "no-company", None, 1, 1))
    meter.add(Used(acme, f"{acme}-fine", None, 1, 1))
    eventually(lambda: metered(acme))
    meter.stop()
    assert not meter._thread.is_alive()


def test_what_its_worker_did_not_live_to_meter_is_metered_once(
    meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_usage, "RECOUNT_SECONDS", 0.3)
    monkeypatch.setattr(conversation_usage, "LOOK_SECONDS", 0.05)
    acme, globex = rows.company(), rows.company()
    recount = Recount()
    recount.start()
    recount.add(Used("deleted", "of-no-company", None, 1, 1))
    for number in range(6):
        for company in (acme, globex):
            used = Used(company, f"{company}-{number}", None, number, 2)
            recount.add(used)
            if number % 2:
                meter.add(used)
    for company in (acme, globex):
        wanted = sorted((f"{company}-{n}", n, 2) for n in range(6))
        eventually(lambda company=company, wanted=wanted: metered(company) == wanted)


def test_the_recount_waits_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    look = conversation_usage._unmetered

    def flaky(used: list[Used]) -> list[Used]:
        looks.append(len(used))
        if len(looks) < 3:
            raise OperationalError("select", {}, Exception("gone"))
        return look(used)

    monkeypatch.setattr(conversation_usage, "RECOUNT_SECONDS", 0.0)
    monkeypatch.setattr(conversation_usage, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(conversation_usage, "_unmetered", flaky)
    acme = rows.company()
    recount = Recount()
    recount.start()
    recount.add(Used(acme, f"{acme}-late", None, 1, 2))
    eventually(lambda: metered(acme) == [(f"{acme}-late", 1, 2)])
