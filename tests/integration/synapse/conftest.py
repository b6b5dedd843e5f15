"""Empty tables and streams for each test, and a Valkey that a test may kill."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import delete

from database.base import new_id
from database.models import Company, DeadLetter, Inbox, Outbox
from database.session import operator_session
from synapse.streams import connect
from tests.support.valkey import OwnValkey


@pytest.fixture(autouse=True)
def empty_tables(database_url: str) -> None:
    with operator_session() as session:
        for model in (Outbox, Inbox, DeadLetter):
            session.execute(delete(model))


@pytest.fixture
def company() -> str:
    company_id = f"company-{new_id()}"
    with operator_session() as session:
        session.add(Company(company_id=company_id, name="A company"))
    return company_id


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with closing(connect(redis_url)) as client:
        client.flushdb()
        yield client


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    server = OwnValkey(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def in_thread(stop: threading.Event) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Run something that ends with `stop`, beside the test; it must end in time."""
    threads: list[threading.Thread] = []

    def start(target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        threads.append(thread)

    yield start
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), "it does not stop"


@pytest.fixture
def eventually() -> Callable[..., float]:
    """Wait until a condition holds; returns the seconds that it took."""

    def wait(condition: Callable[[], bool], seconds: float = 10.0) -> float:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, "it has not come to pass"
            time.sleep(0.01)
        return time.monotonic() - began

    return wait
