"""Schedules fire exactly once, whoever fires them, and train on what is newest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, text, update

from cyrex.errors import Conflict, UserError
from cyrex.schedules import service as schedules
from cyrex.schedules.firing import fire_due, forget_old, new_examples
from cyrex.tenants.service import lock_company
from database.base import new_id
from database.models import Company, Outbox, RetrainingSchedule, ScheduleFire, TrainingRun
from database.session import company_session, operator_session
from tests.support import rows
from tests.support.waiting import eventually, together

pytestmark = pytest.mark.usefixtures("database_url")
HOUR = timedelta(hours=1)


@pytest.fixture
def acme() -> str:
    with operator_session() as session:
        session.execute(delete(Company))
    return rows.company()


def add(company_id: str, due: timedelta | None = HOUR, **values: Any) -> str:
    """A schedule that has been due for so long."""
    values = values or {"every_hours": 2}
    with company_session(company_id) as session:
        schedule_id = schedules.create_schedule(session, company_id, **values).schedule_id
    if due is not None:
        rows.change(RetrainingSchedule, schedule_id, next_fire_at=datetime.now(UTC) - due)
    return schedule_id


def get(schedule_id: str) -> RetrainingSchedule:
    found: RetrainingSchedule = rows.get(RetrainingSchedule, schedule_id)
    return found


def fires(schedule_id: str) -> list[ScheduleFire]:
    with operator_session() as session:
        return schedules.list_fires(session, schedule_id)


def runs(company_id: str) -> list[TrainingRun]:
    """The company's runs that a schedule asked for."""
    with operator_session() as session:
        query = select(TrainingRun).where(
            TrainingRun.company_id == company_id, TrainingRun.source == "schedule"
        )
        return list(session.scalars(query.order_by(TrainingRun.request_id)))


def count(model: Any, *where: Any) -> int:
    with operator_session() as session:
        return session.scalar(select(func.count()).select_from(model).where(*where)) or 0


def test_a_due_schedule_asks_for_a_training_on_the_newest_dataset(acme: str) -> None:
    rows.run(acme, status="succeeded")
    newest = rows.get(TrainingRun, rows.run(acme, status="succeeded")).dataset_id
    config = {"num_epochs": 1, "rank": 8}
    schedule_id = add(acme, every_hours=2, config=config, name="often", use_qlora=False)
    due = get(schedule_id).next_fire_at
    assert fire_due() == 1
    (run,) = runs(acme)
    assert (run.dataset_id, run.status, run.use_qlora) == (newest, "requested", False)
    assert run.config == {"num_epochs": 1, "lora_rank": 8}
    event = rows.announced(acme, "lora_training_requests")[-1]
    assert event["event_id"] == run.request_id
    (fire,) = fires(schedule_id)
    assert (fire.outcome, fire.request_id, fire.fire_at) == ("requested", run.request_id, due)
    schedule = get(schedule_id)
    assert schedule.last_fire_at == due
    assert schedule.next_fire_at == due + 2 * HOUR
    assert rows.events(run.request_id) == ["requested"]
    assert fire_due() == 0


def test_what_was_missed_many_times_fires_once(acme: str) -> None:
    rows.run(acme, status="succeeded")
    schedule_id = add(acme, due=timedelta(days=30, minutes=5))
    due = get(schedule_id).next_fire_at
    assert fire_due() == 1
    assert len(runs(acme)) == 1
    found = get(schedule_id).next_fire_at
    assert datetime.now(UTC) < found < datetime.now(UTC) + 2 * HOUR
    assert (found - due) % (2 * HOUR) == timedelta(0), "it keeps its minute"


def test_a_training_that_has_not_ended_is_not_overtaken(acme: str) -> None:
    rows.run(acme, status="succeeded")
    schedule_id = add(acme)
    fire_due()
    rows.change(RetrainingSchedule, schedule_id, next_fire_at=datetime.now(UTC) - HOUR)
    assert fire_due() == 1
    assert len(runs(acme)) == 1
    assert "has not ended" in fires(schedule_id)[0].reason
    rows.change(TrainingRun, runs(acme)[0].request_id, status="succeeded")
    rows.change(RetrainingSchedule, schedule_id, next_fire_at=datetime.now(UTC) - HOUR / 2)
    fire_due()
    assert len(runs(acme)) == 2


def test_without_data_it_says_so(acme: str) -> None:
    schedule_id = add(acme)
    assert fire_due() == 1
    assert runs(acme) == []
    (fire,) = fires(schedule_id)
    assert (fire.outcome, fire.reason) == ("skipped", "the company has no dataset yet")


def test_too_few_new_examples_are_waited_for(acme: str) -> None:
    rows.run(acme, status="succeeded")
    schedule_id = add(acme, every_hours=2, min_new_examples=20)
    fire_due()
    assert fires(schedule_id)[0].reason.startswith("0 new examples")
    # A run that failed has taught nothing: its examples are still new.
    rows.run(acme, status="failed")
    rows.run(acme, status="cancelled")
    with operator_session() as session:
        assert new_examples(session, acme) == 2 * len(rows.LINES)
    rows.change(RetrainingSchedule, schedule_id, next_fire_at=datetime.now(UTC) - HOUR / 2)
    fire_due()
    assert len(runs(acme)) == 1
    with operator_session() as session:
        assert new_examples(session, acme) == 0


def test_a_configuration_that_is_no_longer_valid_is_named(acme: str) -> None:
    rows.run(acme, status="succeeded")
    schedule_id = add(acme)
    rows.change(RetrainingSchedule, schedule_id, config={"lora_rank": 100_000})
    assert fire_due() == 1
    assert "config.lora_rank" in fires(schedule_id)[0].reason
    assert runs(acme) == []
    assert get(schedule_id).enabled


def test_a_zone_that_is_no_more_takes_nobody_elses_turn(acme: str) -> None:
    rows.run(acme, status="succeeded")
    broken = add(acme, cron="0 3 * * *", timezone="Europe/Berlin", due=2 * HOUR)
    rows.change(RetrainingSchedule, broken, timezone="Mars/Olympus")
    add(acme)
    assert fire_due() == 2
    assert not get(broken).enabled
    assert "Mars/Olympus" in fires(broken)[0].reason
    assert len(runs(acme)) == 1


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


def test_two_beats_and_a_thousand_due_fires_are_a_thousand_runs(acme: str) -> None:
    companies = [acme, *(rows.company() for _ in range(24))]  # 40 each, within its limit
    for company_id in companies:
        rows.run(company_id, status="succeeded")
    now = datetime.now(UTC)
    due = now - 3 * HOUR
    with operator_session() as session:
        session.execute(
            insert(RetrainingSchedule),
            [
                {
                    "schedule_id": new_id(),
                    "company_id": companies[number % 25],
                    # Not due anew before this test has ended, whenever it begins.
                    "cron": f"0 {(now.hour + 12) % 24} * * *",
                    "next_fire_at": due,
                }
                for number in range(1000)
            ],
        )
    fired = together([fire_due, fire_due])
    assert sum(fired) == 1000
    assert min(fired) > 0, "both had their part"
    assert count(TrainingRun, TrainingRun.source == "schedule") == 1000
    assert count(ScheduleFire, ScheduleFire.outcome == "requested") == 1000
    assert count(Outbox, Outbox.stream == "lora_training_requests") == 1025
    assert count(RetrainingSchedule, RetrainingSchedule.next_fire_at <= func.now()) == 0
    assert together([fire_due, fire_due]) == [0, 0]


def test_companies_are_locked_in_one_order(acme: str) -> None:
    """As `admit` does: two who want the same companies never wait for each other in a circle."""
    first, last = sorted((acme, rows.company()))
    for company_id, due in ((first, HOUR), (last, 2 * HOUR)):  # the last is due longest
        rows.run(company_id, status="succeeded")
        add(company_id, due=due)
    with ThreadPoolExecutor(1) as pool, operator_session() as session:
        lock_company(session, first)
        beat = pool.submit(fire_due)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        eventually(lambda: session.scalar(text(waiting)), what="the beat's wait")
        lock_company(session, last)
        session.commit()
        assert beat.result(20) == 2


def test_history_is_forgotten_after_its_time(acme: str) -> None:
    schedule_id = add(acme)
    fire_due()
    assert forget_old() == 0
    with operator_session() as session:
        session.execute(update(ScheduleFire).values(created_at=rows.ago(91 * 86_400)))
    assert forget_old() == 1
    assert fires(schedule_id) == []


def test_no_company_sees_anothers(acme: str) -> None:
    other = rows.company()
    schedule_id = add(acme)
    fire_due()
    with company_session(other) as session:
        assert schedules.list_schedules(session, None) == []
        assert session.scalars(select(ScheduleFire)).all() == []
        with pytest.raises(UserError, match="no schedule"):
            schedules.delete_schedule(session, schedule_id)
