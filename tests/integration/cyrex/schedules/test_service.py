"""Schedules are made, changed and limited; no company sees another's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from cyrex.errors import Conflict, UserError
from cyrex.schedules import service as schedules
from cyrex.schedules.firing import fire_due
from database.models import RetrainingSchedule, ScheduleFire
from database.session import company_session
from tests.support import rows
from tests.support.schedules import HOUR, add, count, get

pytestmark = pytest.mark.usefixtures("database_url")


def test_a_disabled_schedule_rests_and_makes_up_for_nothing(acme: str) -> None:
    rows.run(acme, status="succeeded")
    hour = (datetime.now(UTC).hour + 12) % 24  # not due anew while the test runs
    schedule_id = add(acme, cron=f"0 {hour} * * *")
    with company_session(acme) as session:
        schedules.update_schedule(session, schedule_id, {"enabled": False})
    rows.change(RetrainingSchedule, schedule_id, next_fire_at=datetime.now(UTC) - HOUR)
    assert fire_due() == 0
    with company_session(acme) as session:
        schedules.update_schedule(session, schedule_id, {"enabled": True})
    assert get(schedule_id).next_fire_at > datetime.now(UTC)
    assert fire_due() == 0


def test_a_new_time_counts_from_now_and_a_new_name_changes_nothing(acme: str) -> None:
    schedule_id = add(acme, cron="0 3 * * *")
    due = get(schedule_id).next_fire_at
    with company_session(acme) as session:
        schedules.update_schedule(session, schedule_id, {"name": "nightly"})
    assert get(schedule_id).next_fire_at == due
    with company_session(acme) as session:
        changed = schedules.update_schedule(session, schedule_id, {"every_hours": 5})
    assert changed.cron is None
    assert changed.next_fire_at > datetime.now(UTC) + 4 * HOUR


def test_refusals_change_nothing(acme: str) -> None:
    for values, field in (
        ({}, "cron"),
        ({"cron": "0 3 * * *", "every_hours": 3}, "cron"),
        ({"cron": "0 25 * * *"}, "cron"),
        ({"cron": "0 3 * * *", "timezone": "Mars"}, "timezone"),
        ({"every_hours": 0}, "every_hours"),
        ({"every_hours": 1, "config": {"lora_rank": 0}}, "config.lora_rank"),
        ({"every_hours": 1, "min_new_examples": -1}, "min_new_examples"),
    ):
        with pytest.raises(UserError) as refused, company_session(acme) as session:
            schedules.create_schedule(session, acme, **values)
        assert refused.value.param == field
    assert count(RetrainingSchedule) == 0
    schedule_id = add(acme, due=None)
    before = rows.columns(get(schedule_id))
    with pytest.raises(UserError), company_session(acme) as session:
        schedules.update_schedule(session, schedule_id, {"cron": "bad"})
    assert rows.columns(get(schedule_id)) == before


def test_there_is_a_limit(acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 2)
    for _ in range(2):
        add(acme)
    with pytest.raises(Conflict, match="2 schedules"):
        add(acme)


def test_no_company_sees_anothers(acme: str) -> None:
    other = rows.company()
    schedule_id = add(acme)
    fire_due()
    with company_session(other) as session:
        assert schedules.list_schedules(session, None) == []
        assert session.scalars(select(ScheduleFire)).all() == []
        with pytest.raises(UserError, match="no schedule"):
            schedules.delete_schedule(session, schedule_id)
