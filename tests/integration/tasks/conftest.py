"""A broker of the module's own, and this process as one of its workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs

from database.models import Company, DeadLetter, Inbox, Worker
from database.session import operator_session
from embedded import Servers
from synapse.streams import connect
from tasks.broker import connection
from tasks.upkeep import reconciler
from tasks.workers import dead_workers
from tasks.workers import presence as worker
from tasks.workers.presence import Presence
from tests.support import rows
from tests.support.broker import Broker, use_broker
from tests.support.celery_worker import CeleryWorker
from tests.support.postgres import Postgres


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged, as it was said: nobody renders tracebacks for a test."""
    with capture_logs() as found:
        yield found


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
    connection.broker.cache_clear()


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


@pytest.fixture
def celery_worker(tmp_path: Path) -> Iterator[Callable[..., CeleryWorker]]:
    """`celery_worker(name, queues, pool, size)` starts a worker; all are killed at the end."""
    made: list[CeleryWorker] = []

    def start(name: str, queues: str, pool: str, size: int) -> CeleryWorker:
        started = CeleryWorker(tmp_path, name, queues, pool, size)
        made.append(started)
        started.start()
        return started

    yield start
    for each in made:
        each.kill()
