"""Schedules fire exactly once, whoever fires them, and train on what is newest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, text, update

from cyrex.schedules.firing import fire_due, forget_old, new_examples
from cyrex.tenants.service import lock_company
from database.base import new_id
from database.models import Outbox, RetrainingSchedule, ScheduleFire, TrainingRun
from database.session import operator_session
from tests.support import rows
from tests.support.schedules import HOUR, add, count, fires, get, runs
from tests.support.waiting import eventually, together

pytestmark = pytest.mark.usefixtures("database_url")


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
