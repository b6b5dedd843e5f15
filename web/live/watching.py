"""Disconnected clients: one thread per process sees connections close while requests wait."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

CLOSED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Watcher:
    """Watches gunicorn's sockets with epoll: an open connection costs nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poll: select.epoll | None = None
        self._gone: dict[int, Callable[[], None]] = {}

    @contextmanager
    def watch(self, environ: Mapping[str, Any], gone: Callable[[], None]) -> Iterator[None]:
        """Call `gone`, on the watcher's thread, if the client disconnects inside the block."""
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
        # One shot: a closed connection stays closed and would be reported for ever.
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
                return  # epoll drops a closed connection by itself.

    def _start(self) -> select.epoll:
        """Start the thread with the first client that is watched."""
        if self._poll is None:
            self._poll = select.epoll()
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
