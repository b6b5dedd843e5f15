"""Clients that wait for a job: one reader thread a process hears that jobs ended and wakes them.

A message is a hint: each waiter also looks at its job's row every `POLL_SECONDS`, so a lost
message or a broker that is down costs a delay and nothing else. A waiter holds no database
session between two looks.
"""

from __future__ import annotations

import os
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
# A company that waits alone has seven eighths of the seats, two have seven fifteenths each.
SHARE = 7

Found = TypeVar("Found")

# `bool()` is False: the default of a question whose answer is no.
_leaving: Callable[[], bool] = bool


def release_when(leaving: Callable[[], bool]) -> None:
    """Let waiters go, within `POLL_SECONDS`, once `leaving()` is true: the process is to stop."""
    global _leaving
    _leaving = leaving


class Seats:
    """Places for what holds a thread of the API: `seats` of them in a process, for all companies.

    A company may hold `SHARE` times as many as are free: however many ask for more, some are left.
    """

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._taken = 0
        self._held: Counter[str] = Counter()

    def take(self, company_id: str) -> bool:
        """Occupy a seat, if there is one for the company; `leave` frees it."""
        with self._lock:
            if self._pid != os.getpid():
                self._forget_parent()
            if self._held[company_id] >= SHARE * (self.seats - self._taken):
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

    def _forget_parent(self) -> None:
        self._pid, self._taken, self._held = os.getpid(), 0, Counter()


class Waiters(Seats):
    """Clients of this process that wait; who finds no seat is answered at once."""

    def __init__(self, redis_url: str, seats: int) -> None:
        super().__init__(seats)
        self._redis_url = redis_url
        self._reader: Listener | None = None
        self._waiting: dict[str, set[threading.Event]] = {}

    @contextmanager
    def seat(self, job_id: str, company_id: str) -> Iterator[Seat | None]:
        """A place from which to wait for `job_id`; None when there is none for the company.

        Take it before the job can end, or before looking at its row: then no end is missed.
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
        """Let those who wait for `job_id` look at its row now."""
        with self._lock:
            for woken in self._waiting.get(job_id, ()):
                woken.set()

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._reader, self._waiting = None, {}

    def _start_reader(self) -> None:
        """Lazily, so that it runs in the process that serves and not in the one that forked it."""
        if self._reader is None or not self._reader.is_alive():
            self._reader = Listener(JOBS_ENDED_CHANNEL, self._hear, self._redis_url)
            self._reader.start()

    def _hear(self, message: bytes) -> None:
        """Anybody may publish; what is no job's id wakes nobody."""
        self.wake(message.decode(errors="replace"))


class Seat:
    """One client's place among the waiters."""

    def __init__(self, woken: threading.Event) -> None:
        self._woken = woken

    def wait(
        self,
        look: Callable[[], Found | None],
        seconds: float,
        gone: Callable[[], bool] = bool,
    ) -> Found | None:
        """Return what `look` finds, or None after `seconds` or when the client is `gone`.

        `look` is called when the job is said to have ended, and every `POLL_SECONDS`.
        """
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or _leaving() or gone():
                return None
            self._woken.wait(min(left, POLL_SECONDS))
            self._woken.clear()
            found = look()
            if found is not None:
                return found


def client_gone(environ: Mapping[str, Any]) -> bool:
    """Whether the client has closed its connection: nobody is left to wait for the answer."""
    connection = environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket) or isinstance(connection, ssl.SSLSocket):
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
