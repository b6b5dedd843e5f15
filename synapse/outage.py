"""Waiting for a server that is away: one line when it goes, one when it is back."""

from __future__ import annotations

import logging
import threading
import time

from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 2.0


class Outage:
    """`failed` after each failure, `over` after each success; `what` is who has to wait."""

    def __init__(self, what: str, stop: threading.Event) -> None:
        self._what = what
        self._stop = stop
        self._since: float | None = None
        self._wait = FIRST_WAIT_SECONDS

    def failed(self, error: Exception) -> None:
        """Log the first failure, wait a while, longer from time to time; `stop` ends the wait."""
        if self._since is None:
            self._since = time.monotonic()
            # A server that is away needs no traceback; anything else is a defect and does.
            defect = not isinstance(error, RedisError | SQLAlchemyError | OSError)
            said = str(error).partition("\n")[0]  # what follows is the statement and its values
            log.error("%s: waiting, will try again: %s", self._what, said, exc_info=defect)
        self._stop.wait(self._wait)
        self._wait = min(self._wait * 2, LONGEST_WAIT_SECONDS)

    def over(self) -> None:
        if self._since is None:
            return
        log.info("%s: back after %.1f s", self._what, time.monotonic() - self._since)
        self._since = None
        self._wait = FIRST_WAIT_SECONDS
