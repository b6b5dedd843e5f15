"""From a committed row to the broker: checked before anything is written, never fatal after."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from cyrex.work.lease import Hint
from database.transitions import MACHINES
from synapse.outbox import wake
from tasks.broker.dispatch import admit_many, announce_end, broker, broker_alive, publish_all
from web.http.errors import DATABASE_ERRORS, broker_unavailable

log = structlog.get_logger()

FLUSH_SECONDS = 5.0
# From one batch to the next: what comes in between shares a transaction and two round trips. What
# comes alone waits for nothing.
GATHER_SECONDS = 0.025


def require_broker() -> None:
    """Raise a 503 while the broker is down, before anything is written."""
    if not broker_alive():
        raise broker_unavailable()


class _Handover:
    """A thread that hands over what has come since it last did, of all companies in one go.

    The rows are committed: what fails here, or dies with the process, is made good by the
    reconciler, and the client must not be told that nothing was done.
    """

    def __init__(self) -> None:
        self._come = threading.Condition()
        self._waiting: set[tuple[str, str]] = set()
        self._admitted: list[Hint] = []
        self._busy = False
        self._began = float("-inf")
        self._pid = 0

    def put(self, kind: str, company_id: str, row: Any | None) -> None:
        with self._come:
            if self._pid != os.getpid():  # the first time, and the first time after a fork
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="handover", daemon=True).start()
            if row is None:
                self._waiting.add((kind, company_id))
            else:
                self._admitted.append((MACHINES[kind], row))
            self._come.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all is handed over. False: it takes longer."""
        with self._come:
            return self._come.wait_for(lambda: not self._has_come() and not self._busy, seconds)

    def _has_come(self) -> bool:
        return bool(self._waiting or self._admitted)

    def _run(self) -> None:
        while True:
            with self._come:
                self._busy = False
                self._come.notify_all()
                self._come.wait_for(self._has_come)
                self._busy = True
            # Not on the condition, which every request would end.
            time.sleep(max(0.0, self._began + GATHER_SECONDS - time.monotonic()))
            with self._come:
                self._began = time.monotonic()
                come, self._waiting = self._waiting, set()
                admitted, self._admitted = self._admitted, []
            self._give(partial(publish_all, admitted))
            for kind in sorted({kind for kind, _company_id in come}):
                company_ids = sorted(company for k, company in come if k == kind)
                self._give(partial(admit_many, kind, company_ids))

    def _give(self, what: Callable[[], int]) -> None:
        try:
            what()
        except DATABASE_ERRORS as error:
            log.warning("not_handed_over", error=str(error).splitlines()[0])
        except Exception:  # the thread must outlive whatever a batch meets
            log.exception("not_handed_over")


_handover = _Handover()


def hand_over(kind: str, company_id: str, row: Any | None = None) -> None:
    """Give the broker, in a moment, what the company may have there, or `row`, already admitted."""
    _handover.put(kind, company_id, row)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait until all was given that `hand_over` was told of. False: it takes longer."""
    return _handover.flush(seconds)


def wake_relay() -> None:
    """The outbox has something new: do not wait for the relay's next look."""
    wake(broker())


def job_ended(job_id: str, company_id: str) -> None:
    """A job was cancelled: tell who waits for it, and let the company's next one in."""
    wake_relay()
    announce_end(job_id)
    hand_over("job", company_id)
