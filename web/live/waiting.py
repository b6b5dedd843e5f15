"""Clients that wait for a job: one reader thread per process hears of ended jobs and wakes them.

A message is a hint: each client's thread also reads its job's row every `POLL_SECONDS`, so a lost
message or a broker that is down costs a delay and nothing else. Between two reads it holds no
database session.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from tasks.broker.dispatch import JOBS_ENDED_CHANNEL
from tasks.broker.listening import Listener

POLL_SECONDS = 2.0
# A company may hold so many seats per free one: alone it gets seven eighths of all, two companies
# get seven fifteenths each.
SEATS_PER_FREE_SEAT = 7

Found = TypeVar("Found")

# `bool()` is False.
_is_stopping: Callable[[], bool] = bool


def release_when(is_stopping: Callable[[], bool]) -> None:
    """End all waits within `POLL_SECONDS` once `is_stopping()` is true of this process."""
    global _is_stopping
    _is_stopping = is_stopping


class Seats:
    """Limits how many threads of this process one kind of slow request holds: `seats` in all.

    A company may hold `SEATS_PER_FREE_SEAT` times as many seats as are free. However many it asks
    for, some are left for others.
    """

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self._lock = threading.Lock()
        self._taken = 0
        self._held: Counter[str] = Counter()

    def take(self, company_id: str) -> bool:
        """Occupy a seat if the company may have one; `leave` frees it."""
        with self._lock:
            if self._held[company_id] >= SEATS_PER_FREE_SEAT * (self.seats - self._taken):
                return False
            self._taken += 1
            self._held[company_id] += 1
            return True

    def leave(self, company_id: str) -> None:
        with self._lock:
            self._taken -= 1
            self._held[company_id] -= 1
            if not self._held[company_id]:
                del self._held[company_id]


class WaitingClients(Seats):
    """The clients that wait for a job in this process."""

    def __init__(self, redis_url: str, seats: int) -> None:
        super().__init__(seats)
        self._redis_url = redis_url
        self._reader: Listener | None = None
        self._waiting: dict[str, set[threading.Event]] = {}

    @contextmanager
    def seat(self, job_id: str, company_id: str) -> Iterator[Seat | None]:
        """A seat to wait for `job_id` on; None when the company may have no more.

        Take it before the job can end, or before reading its row, so that no end is missed.
        """
        woken = threading.Event()
        if not self.take(company_id):
            yield None
            return
        with self._lock:
            self._start_reader()
            self._waiting.setdefault(job_id, set()).add(woken)
        try:
            yield Seat(woken)
        finally:
            self.leave(company_id)
            with self._lock:
                others = self._waiting[job_id]
                others.discard(woken)
                if not others:
                    del self._waiting[job_id]

    def wake(self, job_id: str) -> None:
        """Let the clients that wait for `job_id` read its row now."""
        with self._lock:
            for woken in self._waiting.get(job_id, ()):
                woken.set()

    def _start_reader(self) -> None:
        """Start the reader with the first client: a process that serves none listens to nothing."""
        if self._reader is None or not self._reader.is_alive():
            self._reader = Listener(JOBS_ENDED_CHANNEL, self._hear, self._redis_url)
            self._reader.start()

    def _hear(self, message: bytes) -> None:
        """Any text may be published here; a text that is no job's id wakes nobody."""
        self.wake(message.decode(errors="replace"))


class Seat:
    """One client's place among those that wait."""

    def __init__(self, woken: threading.Event) -> None:
        self._woken = woken

    def wait(
        self,
        look: Callable[[], Found | None],
        seconds: float,
        gone: Callable[[], bool] = bool,
    ) -> Found | None:
        """Return the first result of `look`; None after `seconds` or when the client is `gone`.

        `look` is called when a message says that the job has ended, and every `POLL_SECONDS`.
        """
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or _is_stopping() or gone():
                return None
            self._woken.wait(min(left, POLL_SECONDS))
            self._woken.clear()
            found = look()
            if found is not None:
                return found


def client_gone(environ: Mapping[str, Any]) -> bool:
    """Whether the client has closed its connection."""
    connection = environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket) or isinstance(connection, ssl.SSLSocket):
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
