"""A probe of the broker that is asked so often that most answers must cost nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import redis

# How long an answer is believed while the connection that brought it stays open. A broker that
# dies closes it; one that hangs is noticed this much later.
BELIEVED_SECONDS = 1.0
# Shortest time between two looks whether it is open; a look is a few system calls.
LOOK_SECONDS = 0.01


class Pulse:
    """A connection to the broker that is only ever pinged; `broker` gives the client of it.

    A forked process must have another client than its parent.
    """

    def __init__(self, broker: Callable[[], redis.Redis]) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._client: redis.Redis | None = None
        # redis-py types only a part of its connections.
        self._connection: Any = None
        self._felt = self._missed = self._sure_until = float("-inf")

    def beats(self) -> bool:
        """True if the broker answers, or did a moment ago and has not gone since."""
        came = time.monotonic()
        if came < self._sure_until and self._client is self._broker():
            return True
        with self._lock:
            if self._missed > came:
                # Found while this one waited: a broker that hangs is waited for once, not by each.
                return False
            connection = self._own()
            quiet = _is_quiet(connection)
            if quiet and came - self._felt < BELIEVED_SECONDS:
                self._sure_until = came + LOOK_SECONDS
                return True
            if not quiet:
                connection.disconnect()
            try:
                connection.send_command("PING", check_health=False)
                connection.read_response()
            except redis.RedisError:
                connection.disconnect()
                self._missed = time.monotonic()
                return False
            self._felt = time.monotonic()
            return True

    def _own(self) -> Any:
        client = self._broker()
        if self._connection is None or self._client is not client:
            self._client, self._felt = client, float("-inf")
            pool = client.connection_pool
            self._connection = pool.connection_class(**pool.connection_kwargs)
        return self._connection


def _is_quiet(connection: Any) -> bool:
    """True if the connection looks open from this end."""
    try:
        return not connection.can_read(0)
    except redis.RedisError:
        return False
