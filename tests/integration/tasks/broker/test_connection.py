"""Probes of the broker: one that is there, one that is away, one that takes no writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from settings import get_settings
from synapse.streams import connect
from tasks.broker import connection

pytestmark = pytest.mark.usefixtures("broker")
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody listens at the broker's address."""
    monkeypatch.setenv("REDIS_URL", NOWHERE)
    get_settings.cache_clear()
    connection.broker.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()
    connection.broker.cache_clear()


@pytest.fixture
def full(redis_url: str) -> Iterator[Redis]:
    """The broker has less memory than it already uses."""
    client = connect(redis_url)
    client.config_set("maxmemory", "1")
    yield client
    client.config_set("maxmemory", "0")
    client.close()


def test_a_broker_that_is_there() -> None:
    assert connection.broker_ready()
    assert connection.broker_alive()
    assert connection.broker_writable()


def test_a_broker_that_is_away(away: None) -> None:
    assert not connection.broker_ready()
    assert not connection.broker_alive()
    assert not connection.broker_writable()


def test_a_full_broker_answers_and_takes_nothing(full: Redis) -> None:
    assert connection.broker_ready()
    assert not connection.broker_writable()


def test_one_client_a_process() -> None:
    assert connection.broker() is connection.broker()
