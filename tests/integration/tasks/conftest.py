"""A broker of the module's own, and this process as one of its workers."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from redis import Redis
from sqlalchemy import delete
from structlog.testing import capture_logs

from database.models import Company, DeadLetter, Inbox, Worker
from database.session import operator_session
from embedded import Servers
from settings import get_settings
from synapse.streams import connect
from tasks.broker import dispatch
from tasks.upkeep import reconciler
from tasks.workers import dead_workers
from tasks.workers import presence as worker
from tasks.workers.presence import Presence
from tests import rows
from tests.support.broker import use_broker

# Between the name of a queue and the number of a priority.
PRIORITY = "\x06\x16"


@dataclass(frozen=True)
class Sent:
    """A message that lies in a queue, and the tasks that its chain goes on with."""

    task: str
    arguments: tuple[Any, ...]
    then: tuple[str, ...]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged, as it was said: nobody renders tracebacks for a test."""
    with capture_logs() as found:
        yield found


class Broker:
    """The queues of this module, as a worker would find them."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def sent(self, queue: str) -> list[Sent]:
        """The messages of a queue, in the order in which a worker takes them."""
        # One list a priority; that of 0, the first, has the queue's own name.
        names = [queue, *(f"{queue}{PRIORITY}{number}" for number in range(1, 10))]
        raw: list[Any] = [text for name in names for text in self._list(name)[::-1]]
        return [_read(json.loads(text)) for text in raw]

    def _list(self, name: str) -> list[Any]:
        found: Any = self.redis.lrange(name, 0, -1)
        return list(found)

    def rows(self, queue: str) -> list[tuple[str, int]]:
        """(row, attempt) of the messages of a queue, oldest first."""
        return [(message.arguments[1], message.arguments[3]) for message in self.sent(queue)]

    def forget(self) -> None:
        """Lose everything, as a broker without a disk does when it restarts."""
        self.redis.flushdb()


def _read(message: dict[str, Any]) -> Sent:
    arguments, _, embedded = json.loads(base64.b64decode(message["body"]))
    # Celery keeps the rest of a chain in reverse.
    then = tuple(signature["task"] for signature in reversed(embedded["chain"] or []))
    return Sent(message["headers"]["task"], tuple(arguments), then)


@pytest.fixture
def broker(database_url: str, redis_url: str) -> Iterator[Broker]:
    """An empty broker that is not new to the reconciler, beside empty tables."""
    with operator_session() as session:
        for model in (Company, Worker, Inbox, DeadLetter):
            session.execute(delete(model))
    use_broker(redis_url)
    client = connect(redis_url)
    client.flushdb()
    reconciler.remember_broker()
    yield Broker(client)
    client.close()
    dispatch.broker.cache_clear()


@pytest.fixture
def here(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Presence]:
    """This process is a worker, and a reconciler that trusts what it sees."""
    monkeypatch.setattr(dead_workers, "GRACE_SECONDS", 0.0)
    presence = Presence("here@test", ["bridge"], dict)
    presence.start()
    monkeypatch.setattr(worker, "_presence", presence)
    yield presence
    presence.stop()


@pytest.fixture
def acme(broker: Broker) -> str:
    return rows.company()


class Postgres:
    """The module's database as its operator handles it: cut off, and let in again."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.database = get_settings().database_url.rpartition("/")[2]

    def cut(self, refuse: bool = False) -> None:
        """End every connection; with `refuse`, take no new one either."""
        if refuse:
            self._run("ALTER DATABASE {} ALLOW_CONNECTIONS false")
        self._run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = "
            + psycopg2.extensions.adapt(self.database).getquoted().decode()
        )

    def restore(self) -> None:
        self._run("ALTER DATABASE {} ALLOW_CONNECTIONS true")

    def _run(self, statement: str) -> None:
        connection = psycopg2.connect(self._servers.superuser_url())
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(sql.Identifier(self.database)))
        finally:
            connection.close()


@pytest.fixture
def postgres(servers: Servers, database_url: str) -> Iterator[Postgres]:
    handle = Postgres(servers)
    yield handle
    handle.restore()


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], None]], threading.Thread]]:
    """Run something beside the test, which waits for its end."""
    threads: list[threading.Thread] = []

    def start(target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
