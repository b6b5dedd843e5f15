"""Handing work to the broker: what arrives, and what a broker that is away costs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from kombu import Consumer, Message

from database.models import Job, TrainingRun
from database.transitions import ADAPTER, JOB, TRAINING
from settings import get_settings
from tasks import app
from tasks.broker import connection, dispatch
from tests.support import rows
from tests.support.broker import Broker, use_broker

# A web request waits for this.
SOON_SECONDS = 2.0


@pytest.fixture
def away(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody listens at the broker's address."""
    url, closed = str(app.conf.broker_url), "redis://127.0.0.1:1/0"
    monkeypatch.setenv("REDIS_URL", closed)
    get_settings.cache_clear()
    use_broker(closed)
    yield
    monkeypatch.undo()
    get_settings.cache_clear()
    use_broker(url)


def test_one_message_carries_the_whole_chain(acme: str, broker: Broker) -> None:
    run = rows.get(TrainingRun, rows.claimable(TRAINING, acme, step="train", attempt=3))
    assert dispatch.publish(TRAINING, [run]) == 1
    (message,) = broker.sent("training")
    assert message.task == "training.train"
    assert message.arguments == (acme, run.request_id, "train", 3)
    assert message.then == ("training.evaluate", "training.register", "training.announce")
    assert broker.sent("bridge") == []


def test_each_machine_is_published_to_its_first_queue(acme: str, broker: Broker) -> None:
    machines = (TRAINING, ADAPTER, JOB)
    run, adapter, job = (rows.claimable(machine, acme) for machine in machines)
    for machine, key in zip(machines, (run, adapter, job), strict=True):
        dispatch.publish(machine, [rows.row_of(machine, key)])
    assert broker.rows("bridge") == [(run, 1)]
    assert broker.rows("inference") == [(adapter, 1), (job, 1)]


def test_admit_publishes_what_it_admits_and_nothing_twice(acme: str, broker: Broker) -> None:
    jobs = [rows.job(acme) for _ in range(3)]
    assert dispatch.admit("job", acme) == 3
    assert sorted(broker.rows("inference")) == [(job_id, 1) for job_id in jobs]
    assert dispatch.admit("job", acme) == 0
    assert len(broker.sent("inference")) == 3


def test_one_training_of_a_company_at_a_time(acme: str, broker: Broker) -> None:
    runs = [rows.run(acme, status="queued") for _ in range(3)]
    assert dispatch.admit("training", acme) == 1
    assert dispatch.admit("training", acme) == 0
    assert broker.rows("bridge") == [(runs[0], 1)]


def test_a_broker_that_is_away_fails_nobody_and_holds_up_nobody(acme: str, away: None) -> None:
    began = time.monotonic()
    assert not connection.broker_ready()
    job_id = rows.job(acme)
    assert dispatch.admit("job", acme) == 1, "the row is admitted; the message is only a hint"
    assert dispatch.publish(JOB, [rows.get(Job, job_id)] * 5) == 0
    dispatch.announce_end(job_id)
    assert time.monotonic() - began < SOON_SECONDS
    assert rows.get(Job, job_id).status == "admitted"


def test_the_end_of_a_job_is_announced(broker: Broker) -> None:
    assert connection.broker_ready()
    with broker.redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(dispatch.JOBS_ENDED_CHANNEL)
        channel.get_message(timeout=1)
        dispatch.announce_end("job-1")
        message = channel.get_message(timeout=2)
    assert message is not None
    assert message["data"] == b"job-1"


def taken(queues: list[str], count: int) -> list[str]:
    """The tasks that one worker of these queues would take, in its order."""
    found: list[str] = []
    with app.connection_for_read() as connection:
        declared = [app.amqp.queues[name] for name in queues]

        def take(_body: object, message: Message) -> None:
            found.append(message.headers["task"])
            message.ack()

        with Consumer(connection, declared, on_message=None, callbacks=[take], prefetch_count=1):
            while len(found) < count:
                connection.drain_events(timeout=5)
    return found


def test_a_flood_in_one_queue_does_not_hold_up_another(acme: str, broker: Broker) -> None:
    runs = [rows.get(TrainingRun, rows.claimable(TRAINING, acme)) for _ in range(6)]
    dispatch.publish(TRAINING, runs)
    app.send_task("maintenance.reconcile", queue="maintenance")
    assert "maintenance.reconcile" in taken(["bridge", "maintenance"], 3)


def test_a_trained_run_is_evaluated_before_the_next_one_trains(acme: str, broker: Broker) -> None:
    for step in ("train", "train", "evaluate"):
        run = rows.get(TrainingRun, rows.claimable(TRAINING, acme, step=step))
        dispatch.publish(TRAINING, [run])
    assert taken(["training"], 3) == ["training.evaluate", "training.train", "training.train"]
