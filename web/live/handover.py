"""From a committed row to the broker: checked before anything is written, never fatal after."""

from __future__ import annotations

import threading
import time
from typing import Any

from database.transitions import MACHINES
from synapse.outbox import wake
from tasks.broker.connection import broker, broker_alive
from tasks.broker.dispatch import announce_end
from tasks.broker.handover import Handover
from web.http.errors import broker_unavailable

FLUSH_SECONDS = 5.0
# Shortest time between two batches: the requests that arrive meanwhile share a transaction and two
# round trips. A request that arrives alone waits for nothing.
GATHER_SECONDS = 0.025


def require_broker() -> None:
    """Raise a 503 while the broker is down, before anything is written."""
    if not broker_alive():
        raise broker_unavailable()


class _HandoverThread:
    """A thread that hands over, in one batch, what all requests have added since its last batch.

    The rows are committed, so the client must not be told that nothing was done: the reconciler
    makes good what fails here or dies with the process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next = Handover()
        self._busy = False
        self._batch_began = float("-inf")
        self._thread: threading.Thread | None = None

    def put(self, kind: str, company_id: str, row: Any | None) -> None:
        with self._changed:
            self._start()
            if row is None:
                self._next.companies.add((kind, company_id))
            else:
                self._next.rows.append((MACHINES[kind], row))
            self._changed.notify_all()

    def decided(self, company_id: str, adapter_id: str | None) -> None:
        with self._changed:
            self._start()
            self._next.decided.add(company_id)
            if adapter_id is not None:
                self._next.adapters.add((company_id, adapter_id))
            self._changed.notify_all()

    def _start(self) -> None:
        """Start the thread at the first call. Call with the lock held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="handover", daemon=True)
            self._thread.start()

    def flush(self, seconds: float) -> bool:
        """Wait until everything is handed over. False: it takes longer than `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._next and not self._busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._next))
                self._busy = True
            # A sleep and no wait on the condition, which each new request would end.
            time.sleep(max(0.0, self._batch_began + GATHER_SECONDS - time.monotonic()))
            with self._changed:
                self._batch_began = time.monotonic()
                batch, self._next = self._next, Handover()
            batch.give()


_thread = _HandoverThread()


def hand_over(kind: str, company_id: str, row: Any | None = None) -> None:
    """Soon give the broker `row`, already admitted, or whatever the company may have there."""
    _thread.put(kind, company_id, row)


def decided(company_id: str, warm: str | None) -> None:
    """After a person's decision about an adapter: settle it soon; `warm`: an adapter to load."""
    _thread.decided(company_id, warm)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait until everything that `hand_over` was told is given. False: it takes longer."""
    return _thread.flush(seconds)


def wake_relay() -> None:
    """Tell the relay of new rows in the outbox, which it would else find at its next look."""
    wake(broker())


def job_ended(job_id: str, company_id: str) -> None:
    """After a job was cancelled: wake the clients that wait for it, admit the company's next."""
    wake_relay()
    announce_end(job_id)
    hand_over("job", company_id)
