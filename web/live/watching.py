"""Clients that go away while they wait: one thread a process sees their connections close."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

CLOSED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Watcher:
    """Watches gunicorn's sockets with epoll: while they stay open they cost nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._poll: select.epoll | None = None
        self._gone: dict[int, Callable[[], None]] = {}

    @contextmanager
    def watch(self, environ: Mapping[str, Any], gone: Callable[[], None]) -> Iterator[None]:
        """Call `gone`, on the watcher's thread, if the client closes its connection meanwhile."""
        number = self._add(environ.get("gunicorn.socket"), gone)
        try:
            yield
        finally:
            if number is not None:
                self._remove(number)

    def _add(self, connection: Any, gone: Callable[[], None]) -> int | None:
        if not isinstance(connection, socket.socket):
            return None
        number = connection.fileno()
        with self._lock:
            poll = self._start()
            if number < 0 or number in self._gone:
                return None
            self._gone[number] = gone
        # Once: a closed connection stays closed, and would be reported without end.
        poll.register(number, CLOSED | select.EPOLLONESHOT)
        return number

    def _remove(self, number: int) -> None:
        with self._lock:
            self._gone.pop(number, None)
            poll = self._poll
        if poll is not None:
            try:
                poll.unregister(number)
            except OSError:
                return  # The connection was closed, and epoll has forgotten it by itself.

    def _start(self) -> select.epoll:
        """Lazily, so that it runs in the process that serves and not in the one that forked it."""
        if self._poll is None or self._pid != os.getpid():
            self._pid, self._gone, self._poll = os.getpid(), {}, select.epoll()
            threading.Thread(
                target=self._run, args=(self._poll,), name="clients-gone", daemon=True
            ).start()
        return self._poll

    def _run(self, poll: select.epoll) -> None:
        while True:
            for number, _ in poll.poll():
                with self._lock:
                    gone = self._gone.get(number)
                if gone is not None:
                    gone()
