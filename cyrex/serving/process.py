"""The parent's side: any thread submits; one thread spawns the child, receives and respawns.

More than 300 lines: both sides share one lock and all fields.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
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
    EngineStats,
    Handle,
    Request,
    ResidentAdapter,
)
from cyrex.serving.errors import EngineDied, EngineStartError
from cyrex.serving.spawn import Child
from cyrex.serving.takeover import Adopted, code_sha256, take_over
from cyrex.serving.waiters import Waiter, Waiters, fail
from cyrex.serving.wire import (
    Cancel,
    Done,
    Query,
    QueryAnswer,
    QueryName,
    Ready,
    StartFailed,
    Submit,
    Terms,
)

logger = logging.getLogger(__name__)

# Longest time to load the base model, on a busy machine.
START_SECONDS = 180.0
# Delay of the next start after one that failed; it doubles with every further failure.
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0
CALL_SECONDS = 60.0
DRAIN_SECONDS = 10.0
# An orphaned engine waits this long for its next parent: a worker's restart on a busy machine.
LINGER_SECONDS = 30.0
# While an engine starts, waiting requests are checked this often for deadlines that have passed.
SWEEP_SECONDS = 0.5
# After so many children in a row were killed by a signal while they started, requests are refused.
KILLED_STARTS = 3
DIED_STARTING = "its process has died while it started"


class EngineProcess:
    """An engine in a child process that is started again when it dies. Thread-safe.

    Requests that come while no engine is ready wait for one. A request that the dead engine had
    fails with EngineDied and is not repeated here: its caller decides that.
    """

    def __init__(
        self,
        config: EngineConfig,
        start_seconds: float = START_SECONDS,
        on_step: Callable[[], None] | None = None,
        place: str | None = None,
        base_sha256: str = "",
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        """Start the child. Returns at once: `wait_ready` waits for it.

        With a `place`, the child outlives this process by `linger_seconds` if that is killed, and
        the next EngineProcess on the machine with the same place, configuration and `base_sha256`
        (of the base model's files) takes it over with its base model and adapters.
        `on_step` is called on the supervising thread after the handles have got all messages of an
        engine's step. It must not block.
        """
        self.config = config
        self._terms = Terms(config, place, linger_seconds, base_sha256, code_sha256())
        self._start_seconds = start_seconds
        self._on_step = on_step
        self._numbers = itertools.count(1)
        # Guards all fields below; notified when one changes.
        self._changed = threading.Condition(threading.Lock())
        self._waiters = Waiters(self._changed)
        self._ready: Connection | None = None
        self._child: Child | Adopted | None = None
        self._start_error: EngineStartError | None = None
        self._killed_starts = 0
        self._closing = threading.Event()
        # Sending has a lock of its own: a full socket must not block receiving.
        self._sending = threading.Lock()
        # The kernel kills the child when the *thread* that spawned it ends, so one thread that
        # lives as long as this object spawns all children.
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

    def stats(self, timeout: float = CALL_SECONDS) -> EngineStats | None:
        """What the engine holds and has done; None while no engine answers."""
        answer = self._call("stats", None, timeout)
        return answer.value if answer is not None else None

    def ping(self, timeout: float = CALL_SECONDS) -> bool:
        """Whether the engine's loop completes a round within `timeout` seconds."""
        return self._call("ping", None, timeout) is not None

    @property
    def ready(self) -> bool:
        """Whether a loaded engine takes requests now; else requests wait for one to start."""
        return self._ready is not None

    @property
    def pid(self) -> int | None:
        """The child's process id, while one runs."""
        child = self._child
        return child.pid if child is not None else None

    def close(self, deadline_seconds: float = DRAIN_SECONDS) -> None:
        """Take no more requests, let the present ones finish within the time, end the child."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiters.handles, deadline_seconds)
            if self._child is not None:
                self._child.kill()
        self._thread.join()

    def _call(self, name: QueryName, argument: Any, timeout: float) -> QueryAnswer | None:
        """The child's QueryAnswer; None if none comes in time or it is an error."""
        future: Future[QueryAnswer] = Future()
        number = next(self._numbers)
        self._post(Query(number, name, argument), future)
        try:
            answer = future.result(timeout)
        except (EngineError, FutureTimeoutError) as error:
            logger.warning("%s: %s", name, str(error) or "no answer in time")
            return None
        finally:
            self._waiters.forget(number)
        if answer.error is not None:
            logger.warning("%s: %s", name, answer.error)
            return None
        return answer

    def _post(self, message: Submit | Query, waiter: Waiter) -> None:
        """Register the waiter, then send the message, or keep it until an engine is ready."""
        with self._changed:
            if self._closing.is_set():
                raise EngineClosed("the engine is closed")
            if self._start_error is not None:
                fail(waiter, self._start_error)
                return
            self._waiters.add(message.number, waiter)
            connection = self._ready
            if connection is None:
                self._waiters.unsent[message.number] = message
                self._changed.notify_all()
        if connection is not None:
            self._send(connection, message)

    def _cancel(self, number: int) -> None:
        with self._changed:
            connection = self._ready
            if self._waiters.unsent.pop(number, None) is not None:
                connection = None
            handle = self._waiters.handles.get(number)
        if connection is not None:
            self._send(connection, Cancel(number))
        elif handle is not None:
            self._waiters.hand_on(Done(number, Cancelled("cancelled")))
            self._stepped()

    def _send(self, connection: Connection, message: Submit | Cancel | Query) -> None:
        try:
            with self._sending:
                connection.send(message)
        except OSError:
            # The child is gone; the supervising thread notices, and fails its requests.
            logger.debug("the engine's socket is closed")

    # ---- the supervising thread ----

    def _supervise(self) -> None:
        retry_seconds = RETRY_SECONDS
        while not self._closing.is_set():
            try:
                error = self._run_child()
            except Exception as unforeseen:  # a process that cannot be made, or does not end
                logger.exception("an engine's process cannot be attended to")
                error = self._start_error_of(f"{type(unforeseen).__name__}: {unforeseen}")
            if error is None:
                retry_seconds = RETRY_SECONDS
            else:
                logger.error("%s", error)
                self._pause(error, retry_seconds)
                retry_seconds = min(2 * retry_seconds, MAX_RETRY_SECONDS)
        self._fail_all(EngineClosed("the engine is closed"))

    def _run_child(self) -> EngineStartError | None:
        """Run one child to its end. Returns an error if it never got ready."""
        with self._changed:
            if self._closing.is_set():
                return None
        child = take_over(self._terms) or Child(self._terms)
        with self._changed:
            self._child = child
            if self._closing.is_set():
                child.kill()
        try:
            failure = self._await_ready(child)
            if failure is None:
                self._receive(child.connection)
        finally:
            with self._changed:
                self._ready = None
                self._child = None
            try:
                code = child.end()
            finally:
                with self._sending:  # A sender must not write to a reused file descriptor.
                    child.connection.close()
        return None if self._closing.is_set() else self._judge(child, failure, code)

    def _judge(
        self, child: Child | Adopted, failure: str | None, code: str
    ) -> EngineStartError | None:
        """Fail the dead child's requests. Returns an error if the next start must be delayed."""
        if failure is None:
            logger.warning("the engine's process %d has ended: %s", child.pid, code)
            self._fail_all(EngineDied(f"the engine's process has died ({code})"), keep_unsent=True)
            return None
        if isinstance(child, Adopted):
            logger.warning("the engine %d that was taken over is gone: %s", child.pid, failure)
            return None
        if failure == DIED_STARTING and code.startswith("SIG"):
            self._killed_starts += 1
            if self._killed_starts < KILLED_STARTS:
                logger.warning("the engine's process %d was killed while it started", child.pid)
                return None
        return self._start_error_of(failure)

    def _start_error_of(self, why: str) -> EngineStartError:
        return EngineStartError(f"no engine starts on {self.config.base_model}: {why}")

    def _await_ready(self, child: Child | Adopted) -> str | None:
        """Wait until the child has loaded its model; returns an error text if it does not."""
        give_up = time.monotonic() + self._start_seconds
        try:
            while not child.connection.poll(SWEEP_SECONDS):
                if self._waiters.drop_late():
                    self._stepped()
                if time.monotonic() > give_up:
                    return f"it is not ready after {self._start_seconds:g} s"
            first = child.connection.recv()[0]
        except (EOFError, OSError):
            return DIED_STARTING
        if isinstance(first, StartFailed):
            return first.message
        assert isinstance(first, Ready)
        with self._changed:
            self._ready = child.connection
            self._start_error = None
            self._killed_starts = 0
            unsent = list(self._waiters.unsent.values())
            self._waiters.unsent.clear()
            self._changed.notify_all()
        for message in unsent:
            self._send(child.connection, message)
            handle = self._waiters.handles.get(message.number)
            if handle is not None and handle.cancelled:  # It was cancelled before it was sent.
                self._send(child.connection, Cancel(message.number))
        return None

    def _receive(self, connection: Connection) -> None:
        while True:
            try:
                messages = connection.recv()
            except (EOFError, OSError):
                return
            for message in messages:
                try:
                    self._waiters.hand_on(message)
                except Exception:  # A callback's error must not keep messages from others.
                    logger.exception("a callback has failed")
            self._stepped()

    def _stepped(self) -> None:
        if self._on_step is not None:
            self._on_step()

    def _fail_all(self, error: EngineError, keep_unsent: bool = False) -> None:
        self._waiters.fail_all(error, keep_unsent)
        self._stepped()

    def _pause(self, error: EngineStartError, seconds: float) -> None:
        """Fail all requests with `error` until an engine is ready; return after `seconds`."""
        with self._changed:
            self._start_error = error
        self._fail_all(error)
        with self._changed:
            self._changed.wait_for(lambda: self._closing.is_set(), seconds)
