"""Requests and queries that wait for the engine, those not yet sent to a child included."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future

from cyrex.engine import DeadlineExceeded, EngineError, Handle
from cyrex.serving.wire import Done, EngineMessage, Query, QueryAnswer, Submit, delta_of

logger = logging.getLogger(__name__)

Waiter = Handle | Future[QueryAnswer]


class Waiters:
    """Handles and futures by message number. `changed` guards them and is notified of changes.

    unsent: messages for which no child was ready yet.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self.handles: dict[int, Handle] = {}
        self._queries: dict[int, Future[QueryAnswer]] = {}
        self.unsent: dict[int, Submit | Query] = {}

    def add(self, number: int, waiter: Waiter) -> None:
        """Register a waiter. The caller holds `changed`."""
        if isinstance(waiter, Handle):
            self.handles[number] = waiter
        else:
            self._queries[number] = waiter

    def forget(self, number: int) -> None:
        """Drop a query whose caller no longer waits."""
        with self._changed:
            self._queries.pop(number, None)
            self.unsent.pop(number, None)

    def hand_on(self, message: EngineMessage) -> None:
        """Pass one message of the child to its waiter."""
        if isinstance(message, tuple):
            handle = self.handles.get(message[0])
            if handle is not None:
                handle.push(delta_of(message))
            return
        with self._changed:
            if isinstance(message, Done):
                waiter: Waiter | None = self.handles.pop(message.number, None)
                self._changed.notify_all()
            else:
                waiter = self._queries.pop(message.number, None)
        if isinstance(waiter, Handle) and isinstance(message, Done):
            if isinstance(message.outcome, EngineError):
                waiter.fail(message.outcome)
            else:
                waiter.resolve(message.outcome)
        elif isinstance(waiter, Future) and isinstance(message, QueryAnswer):
            waiter.set_result(message)

    def fail_all(self, error: EngineError, keep_unsent: bool = False) -> None:
        """Fail all waiters; with `keep_unsent`, only those whose message was sent to a child."""
        with self._changed:
            spared = set(self.unsent) if keep_unsent else set()
            failed: list[Waiter] = []
            for number in [n for n in self.handles if n not in spared]:
                failed.append(self.handles.pop(number))
            for number in [n for n in self._queries if n not in spared]:
                failed.append(self._queries.pop(number))
            if not keep_unsent:
                self.unsent.clear()
            self._changed.notify_all()
        for waiter in failed:
            fail(waiter, error)

    def drop_late(self) -> bool:
        """Fail unsent requests whose deadline has passed; returns whether there were any."""
        with self._changed:
            late = [
                number
                for number, message in self.unsent.items()
                if isinstance(message, Submit) and message.request.is_late()
            ]
            failed = [self.handles.pop(number) for number in late]
            for number in late:
                del self.unsent[number]
        for handle in failed:
            handle.fail(DeadlineExceeded("the deadline passed before an engine was ready"))
        return bool(failed)


def fail(waiter: Waiter, error: EngineError) -> None:
    if isinstance(waiter, Handle):
        waiter.fail(error)
    elif not waiter.done():
        waiter.set_exception(error)
