"""Each rule of the reconciler: from rows alone, whatever has not moved is moved again."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, text, update

from database import claims
from database.models import Inbox, Job, LoraAdapter, Outbox, TrainingRun
from database.session import operator_session
from database.transitions import ADAPTER, JOB, MACHINES, TRAINING, Machine
from synapse.streams import WAKE_KEY
from tasks import app
from tasks.broker import dispatch
from tasks.upkeep import maintenance, reconciler
from tasks.workers.presence import Presence
from tests.support import rows
from tests.support.broker import Broker, use_broker
from tests.support.waiting import together

pytestmark = pytest.mark.usefixtures("here")

every_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
FIRST_QUEUE = {
    "training": "bridge",
    "adapter": "inference",
    "job": "inference",
    "tool": "tools",
}
DEAD = claims.HEARTBEAT_EXPIRY_SECONDS + 1


def leased(machine: Machine, company_id: str, owner: str, **values: Any) -> str:
    """A row that a worker is at."""
    wanted = {"status": machine.running, "lease_owner": owner, **values}
    return rows.claimable(machine, company_id, **wanted)


def hinted(machine: Machine, company_id: str, seconds: float, **values: Any) -> str:
    """A row of which the broker was told so long ago."""
    return rows.claimable(machine, company_id, published_at=rows.ago(seconds), **values)


# Leases of dead workers.


# Hints that brought no claim.


@every_machine
def test_a_lost_hint_is_given_again(machine: Machine, acme: str, broker: Broker) -> None:
    queue = FIRST_QUEUE[machine.kind]
    never = rows.claimable(machine, acme, published_at=None)
    lost = hinted(machine, acme, reconciler.HINT_SECONDS + 1, publications=1)
    young = hinted(machine, acme, reconciler.HINT_SECONDS - 2, publications=1)
    reconciler.reconcile()
    assert sorted(broker.rows(queue)) == sorted([(never, 1), (lost, 1)])
    assert rows.row_of(machine, lost).publications == 2
    assert rows.row_of(machine, young).publications == 1


def test_each_pause_is_twice_as_long_as_the_one_before(acme: str, broker: Broker) -> None:
    key = rows.claimable(JOB, acme, published_at=None, publications=0)
    reconciler.reconcile()
    assert rows.get(Job, key).publications == 1
    pause = reconciler.HINT_SECONDS
    for told in (1, 2, 3):
        rows.change(Job, key, published_at=rows.ago(pause - 2))
        reconciler.reconcile()
        assert len(broker.sent("inference")) == told
        rows.change(Job, key, published_at=rows.ago(pause + 1))
        reconciler.reconcile()
        assert len(broker.sent("inference")) == told + 1
        pause *= 2


def test_the_pauses_end_at_a_longest(acme: str, broker: Broker) -> None:
    longest = reconciler.HINT_SECONDS * 2**reconciler.MAX_HINT_DOUBLINGS
    key = hinted(JOB, acme, longest + 1, publications=1000)
    reconciler.reconcile()
    assert broker.rows("inference") == [(key, 1)]


def test_a_row_between_two_steps_is_told_of_its_next(acme: str, broker: Broker) -> None:
    """Its worker died after the commit, and took the rest of the chain along."""
    key = hinted(TRAINING, acme, 30, status="running", step="register")
    reconciler.reconcile()
    (message,) = broker.sent("bridge")
    assert message.arguments == (acme, key, "register", 1)
    assert message.then == ("training.announce",)


@pytest.mark.parametrize("status", ["queued", "completed", "failed", "cancelled"])
def test_rows_that_wait_for_no_worker_get_no_hint(
    status: str, acme: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "admit", lambda *_: 0)
    hinted(JOB, acme, 1000, status=status)
    reconciler.reconcile()
    assert broker.sent("inference") == []


def test_a_row_at_work_gets_no_hint(acme: str, here: Presence, broker: Broker) -> None:
    leased(JOB, acme, here.worker_id, published_at=rows.ago(1000))
    reconciler.reconcile()
    assert broker.sent("inference") == []


# A broker that has lost everything.


def test_a_new_broker_is_told_of_everything_that_waits(
    acme: str, here: Presence, broker: Broker
) -> None:
    waiting = [hinted(JOB, acme, 0, publications=1) for _ in range(3)]
    run = hinted(TRAINING, acme, 0, status="running", step="train", publications=1)
    queued = rows.job(acme)
    busy = leased(JOB, acme, here.worker_id)
    reconciler.reconcile()
    broker.forget()
    reconciler.reconcile()
    told = broker.rows("inference")
    assert {(key, 1) for key in waiting} | {(queued, 1)} <= set(told)
    assert (busy, 1) not in told
    assert broker.rows("training") == [(run, 1)]
    before = len(told)
    reconciler.reconcile()
    assert len(broker.sent("inference")) == before, "it is not new any more"


def test_a_new_broker_is_told_of_more_than_a_batch_in_one_tick(
    acme: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "BATCH", 5)
    # Told often before: without its loss the next hint would be due in twenty minutes.
    keys = [hinted(JOB, acme, 0, publications=9) for _ in range(18)]
    reconciler.reconcile()
    assert broker.rows("inference") == []
    broker.forget()
    reconciler.reconcile()
    assert sorted(broker.rows("inference")) == sorted((key, 1) for key in keys)


def test_a_broker_that_has_started_anew_is_a_new_one(acme: str, broker: Broker) -> None:
    """Its disk may have kept the note and lost the last second of messages."""
    key = hinted(JOB, acme, 0, publications=9)
    broker.redis.set(reconciler.EPOCH_KEY, "another run of the server")
    reconciler.reconcile()
    assert broker.rows("inference") == [(key, 1)]
    # Behind a proxy another server answers each time: no storm of hints comes of it.
    broker.redis.set(reconciler.EPOCH_KEY, "a third one")
    reconciler.reconcile()
    assert len(broker.sent("inference")) == 1
    broker.redis.delete(reconciler.RESTARTED_KEY)
    reconciler.reconcile()
    assert len(broker.sent("inference")) == 2


def test_a_new_broker_gets_the_events_that_nobody_has_heard(acme: str, broker: Broker) -> None:
    lost = rows.run(acme)
    sent_ago(lost, 1)
    reconciler.reconcile()
    assert not waits_for_the_relay(lost), "it is on its way"
    broker.forget()
    reconciler.reconcile()
    assert waits_for_the_relay(lost)


def test_a_loss_is_remembered_until_everything_was_told(
    acme: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = hinted(JOB, acme, 0, publications=9)
    broker.forget()
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            reconciler.reconcile()
    assert broker.redis.get(reconciler.EPOCH_KEY) is None
    reconciler.reconcile()
    assert broker.rows("inference") == [(key, 1)]


def test_the_longest_waiting_are_told_first(
    acme: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "BATCH", 2)
    monkeypatch.setattr(reconciler, "HURRY_SECONDS", 0)
    ages = {hinted(JOB, acme, seconds): seconds for seconds in (30, 90, 60, 120)}
    oldest_first = sorted(ages, key=lambda key: -ages[key])
    reconciler.reconcile()
    assert sorted(key for key, _ in broker.rows("inference")) == sorted(oldest_first[:2])
    reconciler.reconcile()
    assert {key for key, _ in broker.rows("inference")} == set(ages)


def test_a_broker_that_is_away_does_not_stop_the_other_rules(acme: str, broker: Broker) -> None:
    cancelled = rows.job(acme, status="admitted", cancel_requested=True)
    queued = rows.job(acme)
    url = str(app.conf.broker_url)
    use_broker("redis://127.0.0.1:1/0")
    try:
        reconciler.reconcile()
    finally:
        use_broker(url)
    assert rows.get(Job, cancelled).status == "cancelled"
    assert rows.get(Job, queued).status == "admitted"
    rows.change(Job, queued, published_at=rows.ago(reconciler.HINT_SECONDS + 1))
    reconciler.reconcile()
    assert broker.rows("inference") == [(queued, 1)]


# Rows before the broker.


def test_queued_rows_of_every_company_are_admitted(acme: str, broker: Broker) -> None:
    globex = rows.company("globex")
    jobs = [rows.job(acme), rows.job(globex)]
    run = rows.run(globex, status="queued")
    reconciler.reconcile()
    assert sorted(broker.rows("inference")) == sorted((key, 1) for key in jobs)
    assert broker.rows("bridge") == [(run, 1)]


def test_companies_without_room_do_not_keep_others_waiting(
    acme: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "BATCH", 1)
    rows.run(acme, status="running", lease_owner="somebody")
    older = rows.run(acme, status="queued")
    globex, initech = rows.company("globex"), rows.company("initech")
    theirs = [rows.run(company, status="queued") for company in (globex, initech)]
    for expected in theirs:
        reconciler.reconcile()
        assert rows.get(TrainingRun, expected).status == "admitted"
    assert rows.get(TrainingRun, older).status == "queued"


@pytest.mark.parametrize(
    ("machine", "status"),
    [
        *((TRAINING, status) for status in ("queued", "admitted", "running")),
        *((JOB, status) for status in ("queued", "admitted", "running", "waiting")),
    ],
    ids=lambda value: value.kind if isinstance(value, Machine) else value,
)
def test_a_cancel_that_a_step_did_not_see_takes_effect(
    machine: Machine, status: str, acme: str, broker: Broker
) -> None:
    key = rows.claimable(machine, acme, status=status, cancel_requested=True, published_at=None)
    reconciler.reconcile()
    row = rows.row_of(machine, key)
    assert row.status == "cancelled"
    assert broker.sent(FIRST_QUEUE[machine.kind]) == []
    if machine is JOB:
        assert row.completed_at is not None
        assert rows.told(key) == ["queued", "cancelled"]
    else:
        assert row.finished_at is not None
        assert rows.events(key)[-1] == "cancelled"


def test_a_cancel_that_a_worker_will_see_is_left_to_it(acme: str, here: Presence) -> None:
    key = leased(TRAINING, acme, here.worker_id, cancel_requested=True)
    reconciler.reconcile()
    assert rows.get(TrainingRun, key).status == "running"


# Events that reached nobody.


def sent_ago(event_id: str, seconds: float) -> None:
    with operator_session() as session:
        session.execute(
            update(Outbox).where(Outbox.event_id == event_id).values(published_at=rows.ago(seconds))
        )


def waits_for_the_relay(event_id: str) -> bool:
    with operator_session() as session:
        row = session.scalars(select(Outbox).where(Outbox.event_id == event_id)).one()
        return row.published_at is None


def test_an_event_without_effect_is_sent_again(acme: str, broker: Broker) -> None:
    lost, heard, young = (rows.run(acme) for _ in range(3))
    for event_id in (lost, heard):
        sent_ago(event_id, reconciler.EVENT_SECONDS + 1)
    sent_ago(young, reconciler.EVENT_SECONDS - 5)
    with operator_session() as session:
        session.add(
            Inbox(
                event_id=heard, stream="lora_training_requests", entry_id="1-1", outcome="applied"
            )
        )
    reconciler.republish_lost_events()
    assert waits_for_the_relay(lost)
    assert not waits_for_the_relay(heard)
    assert not waits_for_the_relay(young)
    assert broker.redis.llen(WAKE_KEY) == 1, "the relay is woken"


# Rows whose event will never come.


def test_an_adapter_whose_training_ended_before_it_was_announced_fails(acme: str) -> None:
    keys = {
        status: rows.adapter(acme, request_id=rows.run(acme, status=status, step="announce"))
        for status in ("failed", "cancelled", "succeeded", "running")
    }
    reconciler.reconcile()
    found = {status: rows.get(LoraAdapter, key) for status, key in keys.items()}
    assert {status: row.status for status, row in found.items()} == {
        "failed": "failed",
        "cancelled": "failed",
        "succeeded": "registered",  # its event is on the way
        "running": "registered",
    }
    assert "ended as cancelled" in found["cancelled"].error["message"]


def test_a_training_whose_event_had_no_effect_fails(acme: str) -> None:
    refused, waiting = rows.run(acme), rows.run(acme)
    with operator_session() as session:
        place = {"stream": "lora_training_requests", "entry_id": "1-1"}
        session.add(Inbox(event_id=refused, outcome="refused", **place))
    reconciler.reconcile()
    row = rows.get(TrainingRun, refused)
    assert (row.status, row.error["code"]) == ("failed", "event_set_aside")
    assert rows.get(TrainingRun, waiting).status == "requested"


def test_an_old_event_without_effect_is_looked_for_from_time_to_time(
    acme: str, broker: Broker
) -> None:
    lost = rows.run(acme)
    sent_ago(lost, reconciler.YOUNG_SECONDS + 60)
    reconciler.republish_lost_events()
    assert not waits_for_the_relay(lost)
    maintenance.apply_retention()
    assert waits_for_the_relay(lost)


# Several reconcilers.


def test_one_reconciler_at_a_time(acme: str, broker: Broker) -> None:
    key = rows.claimable(JOB, acme, published_at=None)
    with operator_session() as session:
        session.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": reconciler.RECONCILER_LOCK})
        reconciler.reconcile()
        assert broker.sent("inference") == []
    reconciler.reconcile()
    assert broker.rows("inference") == [(key, 1)]


def test_reconcilers_at_once_count_a_death_once(acme: str, broker: Broker) -> None:
    key = leased(ADAPTER, acme, "unknown")
    together([reconciler.reconcile] * 4)
    row = rows.get(LoraAdapter, key)
    assert (row.attempt, row.failures, len(row.history)) == (2, 1, 1)
    assert broker.rows("inference") == [(key, 2)]
