"""The process that holds the engine: `python -m cyrex.serving.child SOCKET PARENT_PID`.

The main thread receives, the engine's thread works and sends, a third one sends what the socket
does not take at once. When its parent ends it drops what that one wanted, and waits for the next
one where there may be one: see `takeover`.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from cyrex.engine import Delta, EngineError, Handle
from cyrex.serving.takeover import TakeoverListener
from cyrex.serving.wire import (
    Cancel,
    Done,
    Query,
    QueryAnswer,
    Ready,
    Said,
    StartFailed,
    Submit,
    Terms,
    row_of,
)
from helox.cli import die_with_parent

if TYPE_CHECKING:
    from cyrex.engine.loop import Engine

EXIT_START_FAILED = 1
EXIT_LOOP_BROKEN = 3
# What is said outside of a step (a cancelled row that waited, say) is sent this late at most.
SWEEP_SECONDS = 0.02
# A loop that has not come round in this time hangs, in a call of the GPU's say.
ROUND_SECONDS = 60.0


class StepMessages:
    """What the engine says to one parent, gathered until its step is over and then sent as one
    message. What it says to one that is gone goes nowhere."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_closed = False
        self._room = select.poll()
        self._room.register(connection.fileno(), select.POLLOUT)
        self._said: deque[Ready | Said] = deque()
        self._sending = threading.Lock()
        self._stepped = threading.Event()
        threading.Thread(target=self._run, name="send", daemon=True).start()

    def add(self, message: Ready | Said) -> None:
        self._said.append(message)

    def flush(self) -> None:
        """Send what there is, now: on the caller's thread, as handing it to another one costs
        more than sending, but on another one while the socket is full."""
        if self._said and not self._send_at_once():
            self._stepped.set()

    def close(self) -> None:
        with self._sending:
            self._is_closed = True
            self._connection.close()

    def _run(self) -> None:
        """Send what `flush` could not."""
        while not self._is_closed:
            self._stepped.wait(SWEEP_SECONDS)
            self._stepped.clear()
            with self._sending:
                self._send()

    def _send_at_once(self) -> bool:
        if not self._sending.acquire(blocking=False):
            return False
        try:
            has_room = self._is_closed or bool(self._room.poll(0))
            if has_room:
                self._send()
            return has_room
        finally:
            self._sending.release()

    def _send(self) -> None:
        """With `_sending` held, so that nothing overtakes."""
        batch = [self._said.popleft() for _ in range(len(self._said))]
        if batch:
            # Where the parent is gone, the receiving thread goes on to the next one.
            with contextlib.suppress(OSError):
                self._connection.send_bytes(pickle.dumps(batch, pickle.HIGHEST_PROTOCOL))


def main() -> None:
    parent = Connection(int(sys.argv[1]))
    try:
        terms: Terms = parent.recv()
    except EOFError:  # It died at once.
        return
    listener = _takeover_listener(terms, parent, int(sys.argv[2]))
    # Ctrl-C in a terminal is the parent's business: it drains, then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # On import it tells of a kernel that is not installed, and does without.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # What is loaded now stays: looking through it again and again takes a quarter of the start.
    gc.disable()
    link = ParentLink()
    try:
        terms.config.check_base_model()
        # Imported here, so that a failing import is reported like any other failure to start.
        from cyrex.engine.loop import Engine

        engine = Engine(
            terms.config, on_stopped=lambda: os._exit(EXIT_LOOP_BROKEN), on_step=link.flush
        )
    except BaseException as error:
        traceback.print_exc()
        with contextlib.suppress(OSError):
            parent.send([StartFailed(f"{type(error).__name__}: {error}"[:1000])])
        os._exit(EXIT_START_FAILED)
    gc.freeze()
    gc.enable()
    served: Connection | None = parent
    while served is not None:
        # Who kills a worker because its engine hangs must not be given the same one again.
        if not comes_round(engine):
            os._exit(EXIT_LOOP_BROKEN)
        link.serve(served, engine)
        served = listener.next() if listener is not None else None
    os._exit(0)


def comes_round(engine: Engine) -> bool:
    """Whether the engine's loop does something yet."""
    try:
        engine.ping().result(ROUND_SECONDS)
    except (EngineError, FutureTimeoutError):
        return False
    return True


def _takeover_listener(
    terms: Terms, parent: Connection, parent_pid: int
) -> TakeoverListener | None:
    """Listens for the next parent; without a listener, this process dies with its parent."""
    if terms.place is not None and sys.platform == "linux":
        try:
            return TakeoverListener(terms, parent)
        except OSError:  # A twin of our parent has an engine with the same address.
            logging.exception("this engine cannot be taken over")
    die_with_parent(parent_pid)
    return None


class ParentLink:
    """The connection to the present parent."""

    def __init__(self) -> None:
        self._outbox: StepMessages | None = None

    def flush(self) -> None:
        outbox = self._outbox
        if outbox is not None:
            outbox.flush()

    def serve(self, parent: Connection, engine: Engine) -> None:
        """Do what `parent` asks until it is gone."""
        handles: dict[int, Handle] = {}
        self._outbox = outbox = StepMessages(parent)
        outbox.add(Ready())
        outbox.flush()
        _receive(parent, engine, handles, outbox)
        outbox.close()
        for handle in list(handles.values()):
            handle.cancel()


def _receive(
    parent: Connection, engine: Engine, handles: dict[int, Handle], outbox: StepMessages
) -> None:
    """Hand on what comes until the parent is gone. Nothing here waits for the engine."""
    while True:
        try:
            message = parent.recv()
        except (EOFError, OSError):
            return
        if isinstance(message, Submit):
            _submit(message, engine, handles, outbox)
        elif isinstance(message, Cancel):
            handle = handles.get(message.number)
            if handle is not None:
                handle.cancel()
        elif isinstance(message, Query):
            _call(message, engine, outbox)
        # On this thread: the engine refuses some things at once.
        outbox.flush()


def _submit(
    message: Submit, engine: Engine, handles: dict[int, Handle], outbox: StepMessages
) -> None:
    number = message.number

    def done(handle: Handle) -> None:
        handles.pop(number, None)
        outbox.add(Done(number, handle.outcome()))

    def said(delta: Delta) -> None:
        outbox.add(row_of(number, delta))

    try:
        handle = engine.submit(message.request)
    except EngineError as error:
        outbox.add(Done(number, error))
        return
    handles[number] = handle
    if message.request.stream:
        handle.subscribe(said)
    handle.add_done_callback(done)


def _call(message: Query, engine: Engine, outbox: StepMessages) -> None:
    def done(number: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            outbox.add(QueryAnswer(number, future.result()))
        else:
            outbox.add(QueryAnswer(number, error=f"{type(error).__name__}: {error}"))
        outbox.flush()

    if message.name in ("resident", "stats"):
        value = engine.resident() if message.name == "resident" else engine.stats()
        outbox.add(QueryAnswer(message.number, value))
        return
    try:
        future: Future[Any] = (
            engine.load(message.argument) if message.name == "warm" else engine.ping()
        )
    except EngineError as error:
        outbox.add(QueryAnswer(message.number, error=str(error)))
        return
    future.add_done_callback(partial(done, message.number))


if __name__ == "__main__":
    main()
