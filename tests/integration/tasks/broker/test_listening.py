"""A listener hears its channel, also after its connection was cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from redis import Redis

from synapse.streams import connect
from tasks.broker.listening import LISTEN_SECONDS, RECONNECT_SECONDS, Listener
from tests.support.waiting import eventually

CHANNEL = "test:listening"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with closing(connect(redis_url)) as client:
        yield client


@pytest.fixture
def listen(redis_url: str) -> Iterator[Callable[[Callable[[bytes], None]], Listener]]:
    started: list[Listener] = []

    def start(heard: Callable[[bytes], None]) -> Listener:
        listener = Listener(CHANNEL, heard, redis_url)
        started.append(listener)
        listener.start()
        assert listener.wait_ready()
        return listener

    yield start
    for listener in started:
        listener.stop()


def test_it_hears_what_is_published(
    redis: Redis, listen: Callable[[Callable[[bytes], None]], Listener]
) -> None:
    heard: list[bytes] = []
    listen(heard.append)
    assert redis.publish(CHANNEL, "one") == 1
    redis.publish(CHANNEL, "two")
    eventually(lambda: heard == [b"one", b"two"], what="both messages")


def test_it_is_back_after_its_connection_was_cut(
    redis: Redis, listen: Callable[[Callable[[bytes], None]], Listener]
) -> None:
    heard: list[bytes] = []
    listen(heard.append)
    redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    seconds = LISTEN_SECONDS + 10 * RECONNECT_SECONDS
    eventually(lambda: redis.publish(CHANNEL, "again"), seconds, "the subscription")
    eventually(lambda: b"again" in heard, what="the message")


def test_it_ends_when_it_is_stopped(
    listen: Callable[[Callable[[bytes], None]], Listener],
) -> None:
    listener = listen(lambda _message: None)
    listener.stop()
    eventually(lambda: not listener.is_alive(), 2 * LISTEN_SECONDS, "the end of its thread")
