"""The parent's side: many threads submit, one thread spawns, receives and respawns."""

from __future__ import annotations

import itertools
import logging
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from cyrex.engine import (
    AdapterRef,
    Cancelled,
    EngineClosed,
    EngineConfig,
    EngineError,
    Handle,
    Request,
    ResidentAdapter,
)
from cyrex.serving.spawn import Child
from cyrex.serving.wire import Answer, Call, CallName, Cancel, Done, Ready, StartFailed, Submit

logger = logging.getLogger(__name__)

# Loading the base model, on a machine that does other things too.
START_SECONDS = 180.0
# After a start that failed, the next one is tried this much later, and then twice as late.
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0
CALL_SECONDS = 60.0
DRAIN_SECONDS = 10.0


class EngineDied(EngineError):
    """The engine's process died with the request under way. Send it again: a new one starts."""

    retryable = True


class EngineStartError(EngineError):
    """The engine's process cannot start; the message names the base model and the cause."""


class EngineProcess:
    """An engine in a child process that is started again when it dies. Thread-safe.

    Requests that come while no engine is ready wait for it. A request that the dead engine had is
    failed with EngineDied, never repeated here: its caller knows whether it still wants it.
    """

    def __init__(self, config: EngineConfig, start_seconds: float = START_SECONDS) -> None:
        """Start the child. Returns at once: `wait_ready` waits for it."""
        self.config = config
        self._start_seconds = start_seconds
        self._numbers = itertools.count(1)
        # Guards everything below; `_changed` tells of a change of any of it.
        self._changed = threading.Condition(threading.Lock())
        self._handles: dict[int, Handle] = {}
        self._calls: dict[int, Future[Any]] = {}
        self._unsent: dict[int, Submit | Call] = {}
        self._ready: Connection | None = None
        self._child: Child | None = None
        self._start_error: EngineStartError | None = None
        self._closing = threading.Event()
        # Sending has a lock of its own: a full socket must not hold up what comes in.
        self._sending = threading.Lock()
        # The kernel kills the child when the *thread* that spawned it ends, so one thread that
        # lives as long as this object does all the spawning.
        self._thread = threading.Thread(target=self._supervise, name="engine-process", daemon=True)
        self._thread.start()

    # ---- any thread ----

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait for a loaded engine. Raises EngineStartError, EngineClosed or TimeoutError."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._ready or self._start_error or self._closing.is_set(), timeout
            )
            if self._closing.is_set():
                raise EngineClosed("the engine is closed")
            if self._ready is None and self._start_error is not None:
                raise self._start_error
            if not done:
                raise TimeoutError(f"the engine is not ready after {timeout} s")

    def submit(self, request: Request) -> Handle:
        """Queue a request. Raises EngineClosed; everything else comes from the handle."""
        number = next(self._numbers)
        handle = Handle(request, on_cancel=partial(self._cancel, number))
        self._post(Submit(number, request), handle)
        return handle

    def warm(self, ref: AdapterRef, timeout: float = CALL_SECONDS) -> bool:
        """Load an adapter ahead of its first request; returns whether it is loaded now."""
        return self._call("warm", ref, timeout) is not None

    def resident(self, timeout: float = CALL_SECONDS) -> list[ResidentAdapter]:
        """The loaded adapters, least recently used first; none while no engine answers."""
        answer = self._call("resident", None, timeout)
        return list(answer.value) if answer is not None else []

    def ping(self, timeout: float = CALL_SECONDS) -> bool:
        """Whether the engine's loop comes round within `timeout` seconds."""
        return self._call("ping", None, timeout) is not None

    @property
    def pid(self) -> int | None:
        """Of the child, where one runs."""
        child = self._child
        return child.pid if child is not None else None

    def close(self, deadline_seconds: float = DRAIN_SECONDS) -> None:
        """Take nothing more, let what is under way finish within the time, then end the child."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._handles, deadline_seconds)
            if self._child is not None:
                self._child.kill()
        self._thread.join()

    def _call(self, name: CallName, argument: Any, timeout: float) -> Answer | None:
        """The child's Answer, or None where there is none in time or it is an error."""
        future: Future[Answer] = Future()
        number = next(self._numbers)
        self._post(Call(number, name, argument), future)
        try:
            answer = future.result(timeout)
        except (EngineError, FutureTimeoutError) as error:
            logger.warning("%s: %s", name, str(error) or "no answer in time")
            return None
        finally:
            with self._changed:
                self._calls.pop(number, None)
                self._unsent.pop(number, None)
        if answer.error is not None:
            logger.warning("%s: %s", name, answer.error)
            return None
        return answer

    def _post(self, message: Submit | Call, waiter: Handle | Future[Answer]) -> None:
        """Register who waits, then send; or keep the message until an engine is ready."""
        with self._changed:
            if self._closing.is_set():
                raise EngineClosed("the engine is closed")
            if self._start_error is not None:
                _fail(waiter, self._start_error)
                return
            if isinstance(waiter, Handle):
                self._handles[message.number] = waiter
            else:
                self._calls[message.number] = waiter
            connection = self._ready
            if connection is None:
                self._unsent[message.number] = message
                self._changed.notify_all()
        if connection is not None:
            self._send(connection, message)

    def _cancel(self, number: int) -> None:
        with self._changed:
            connection = self._ready
            if self._unsent.pop(number, None) is not None:
                connection = None
            handle = self._handles.get(number)
        if connection is not None:
            self._send(connection, Cancel(number))
        elif handle is not None:
            self._end(Done(number, Cancelled("cancelled")))

    def _send(self, connection: Connection, message: Submit | Cancel | Call) -> None:
        try:
            with self._sending:
                connection.send(message)
        except OSError:
            # The child is gone; the supervising thread sees it too, and fails what it had.
            logger.debug("the engine's socket is closed")

    # ---- the supervising thread ----

    def _supervise(self) -> None:
        retry_seconds = RETRY_SECONDS
        while not self._closing.is_set():
            error = self._run_child()
            if error is None:
                retry_seconds = RETRY_SECONDS
            else:
                logger.error("%s", error)
                self._rest(error, retry_seconds)
                retry_seconds = min(2 * retry_seconds, MAX_RETRY_SECONDS)
        self._fail_all(EngineClosed("the engine is closed"))

    def _run_child(self) -> EngineStartError | None:
        """One life of a child, to its end. Returns why it never got ready, if it did not."""
        with self._changed:
            if self._closing.is_set():
                return None
            self._child = child = Child(self.config)
        try:
            failure = self._await_ready(child)
            if failure is None:
                self._receive(child.connection)
        finally:
            with self._changed:
                self._ready = None
                self._child = None
            code = child.end()
            with self._sending:  # Nobody may be writing to a number that is then used anew.
                child.connection.close()
        if self._closing.is_set():
            return None
        if failure is None:
            logger.warning("the engine's process %d has ended: %s", child.pid, code)
            self._fail_all(EngineDied(f"the engine's process has died ({code})"), keep_unsent=True)
            return None
        return EngineStartError(f"no engine starts on {self.config.base_model}: {failure}")

    def _await_ready(self, child: Child) -> str | None:
        """Wait until the child has loaded its model; returns what went wrong, if anything."""
        try:
            if not child.connection.poll(self._start_seconds):
                return f"it is not ready after {self._start_seconds:g} s"
            first = child.connection.recv()[0]
        except (EOFError, OSError):
            return "its process has died while it started"
        if isinstance(first, StartFailed):
            return first.message
        assert isinstance(first, Ready)
        with self._changed:
            self._ready = child.connection
            self._start_error = None
            unsent = list(self._unsent.values())
            self._unsent.clear()
            self._changed.notify_all()
        for message in unsent:
            self._send(child.connection, message)
            handle = self._handles.get(message.number)
            if handle is not None and handle.cancelled:  # ... while this message was on its way.
                self._send(child.connection, Cancel(message.number))
        return None

    def _receive(self, connection: Connection) -> None:
        while True:
            try:
                messages = connection.recv()
            except (EOFError, OSError):
                return
            for message in messages:
                self._end(message)

    def _end(self, message: Done | Answer) -> None:
        """Hand an outcome to whoever waits for it."""
        with self._changed:
            waiter: Handle | Future[Any] | None
            if isinstance(message, Done):
                waiter = self._handles.pop(message.number, None)
                self._changed.notify_all()
            else:
                waiter = self._calls.pop(message.number, None)
        if isinstance(waiter, Handle) and isinstance(message, Done):
            if isinstance(message.outcome, EngineError):
                waiter.fail(message.outcome)
            else:
                waiter.resolve(message.outcome)
        elif isinstance(waiter, Future):
            waiter.set_result(message)

    def _fail_all(self, error: EngineError, keep_unsent: bool = False) -> None:
        """Fail everybody who waits; `keep_unsent` spares what no child has seen."""
        with self._changed:
            spared = set(self._unsent) if keep_unsent else set()
            waiters: list[Handle | Future[Any]] = []
            for table in (self._handles, self._calls):
                waiters += [table.pop(number) for number in list(table) if number not in spared]
            if not keep_unsent:
                self._unsent.clear()
            self._changed.notify_all()
        for waiter in waiters:
            _fail(waiter, error)

    def _rest(self, error: EngineStartError, seconds: float) -> None:
        """Refuse everything with `error` until an engine is ready; try again after a while."""
        with self._changed:
            self._start_error = error
        self._fail_all(error)
        with self._changed:
            self._changed.wait_for(lambda: self._closing.is_set(), seconds)


def _fail(waiter: Handle | Future[Any], error: EngineError) -> None:
    if isinstance(waiter, Handle):
        waiter.fail(error)
    elif not waiter.done():
        waiter.set_exception(error)
