"""Outbox and relay: an event is published if and only if its change was committed."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis, RedisError, ResponseError

from database.base import new_id
from database.session import operator_session
from synapse.outbox import announce, wake
from synapse.payloads import MODEL_EVENT, TRAINING_REQUESTED
from synapse.relay import POLL_SECONDS, Relay
from synapse.streams import LORA_TRAINING_REQUESTS, MODEL_EVENTS, connect
from tests.support.outbox import published, unpublished

Wait = Callable[..., float]
InThread = Callable[[Callable[[], None]], None]


def announce_many(company: str, count: int, first: int = 0) -> list[str]:
    """Commit `count` events; returns their ids in order."""
    with operator_session() as session:
        return [
            announce(session, MODEL_EVENTS, MODEL_EVENT, company, {"event": f"n{n}"}).event_id
            for n in range(first, first + count)
        ]


def test_published_once_in_order(company: str, redis: Redis, stop: threading.Event) -> None:
    ids = announce_many(company, 130) + announce_many(company, 120)
    relay = Relay(redis, stop)
    assert [relay.run_once() for _ in range(4)] == [100, 100, 50, 0]
    assert published(redis) == ids
    assert unpublished() == 0


def test_two_relays_at_once_do_not_double(
    company: str, redis: Redis, redis_url: str, stop: threading.Event
) -> None:
    ids = announce_many(company, 1000)
    done: list[int] = []

    def drain() -> None:
        relay = Relay(connect(redis_url), stop)
        while unpublished():
            done.append(relay.run_once())

    relays = [threading.Thread(target=drain) for _ in range(2)]
    for thread in relays:
        thread.start()
    for thread in relays:
        thread.join(30)
    assert sum(done) == 1000
    assert sorted(published(redis)) == sorted(ids)


def test_nothing_is_marked_while_redis_is_away(
    company: str, own_valkey: Any, stop: threading.Event
) -> None:
    client = connect(own_valkey.url)
    relay = Relay(client, stop)
    ids = announce_many(company, 3)
    own_valkey.kill()
    with pytest.raises(RedisError):
        relay.run_once()
    wake(client)  # says nothing, raises nothing
    assert unpublished() == 3
    own_valkey.start()
    assert relay.run_once() == 3
    assert published(client) == ids


def test_it_outlives_the_death_of_redis(
    company: str,
    own_valkey: Any,
    stop: threading.Event,
    in_thread: InThread,
    eventually: Wait,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = connect(own_valkey.url)
    in_thread(Relay(connect(own_valkey.url), stop).run)
    ids = announce_many(company, 5)
    eventually(lambda: unpublished() == 0)
    own_valkey.kill()
    ids += announce_many(company, 5)
    time.sleep(1)
    assert unpublished() == 5
    own_valkey.start()
    took = eventually(lambda: unpublished() == 0)
    assert took < 5
    assert published(client) == ids
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1


def test_it_outlives_a_stopped_redis(
    company: str, own_valkey: Any, stop: threading.Event, in_thread: InThread, eventually: Wait
) -> None:
    in_thread(Relay(connect(own_valkey.url), stop).run)
    eventually(lambda: unpublished() == 0)
    own_valkey.signal(signal.SIGSTOP)
    ids = announce_many(company, 5)
    time.sleep(1.5)
    own_valkey.signal(signal.SIGCONT)
    eventually(lambda: unpublished() == 0)
    assert set(published(connect(own_valkey.url))) == set(ids)


def test_it_is_woken_by_a_commit_and_finds_what_nobody_told_it(
    company: str,
    redis: Redis,
    redis_url: str,
    stop: threading.Event,
    in_thread: InThread,
    eventually: Wait,
) -> None:
    in_thread(Relay(connect(redis_url), stop).run)
    time.sleep(0.2)
    waits = []
    for number in range(5):
        announce_many(company, 1, number)
        wake(redis)
        waits.append(eventually(lambda: unpublished() == 0))
    assert sorted(waits)[2] < POLL_SECONDS / 4
    announce_many(company, 1, 9)
    eventually(lambda: unpublished() == 0, POLL_SECONDS + 2)


def test_an_event_that_redis_refuses_holds_nobody_back(
    company: str, redis: Redis, stop: threading.Event
) -> None:
    redis.set(LORA_TRAINING_REQUESTS, "not a stream")
    with operator_session() as session:
        data = {"dataset_id": "d", "request_id": new_id()}
        announce(session, LORA_TRAINING_REQUESTS, TRAINING_REQUESTED, company, data)
    ids = announce_many(company, 2)
    relay = Relay(redis, stop)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        relay.run_once()
    assert published(redis) == ids
    assert unpublished() == 1
    redis.delete(LORA_TRAINING_REQUESTS)
    assert relay.run_once() == 1
