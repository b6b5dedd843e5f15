"""The process that holds the engine: `python -m cyrex.serving.child SOCKET PARENT_PID`.

The main thread receives messages, the engine's thread computes and sends, and a third thread sends
when the socket is full. When the parent dies, its requests are cancelled, and the process waits for
another parent if its terms allow that: see `takeover`.
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
    EngineMessage,
    Query,
    QueryAnswer,
    Ready,
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
# Longest delay of a message that no step flushes (a waiting request was cancelled, for example).
SWEEP_SECONDS = 0.02
# A loop whose round takes longer hangs, for example in a call of the GPU's driver.
ROUND_SECONDS = 60.0


class StepMessages:
    """Collects the engine's messages to one parent and sends those of a step as one list.

    Messages to a parent that has died are dropped.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_closed = False
        self._room = select.poll()
        self._room.register(connection.fileno(), select.POLLOUT)
        self._messages: deque[Ready | EngineMessage] = deque()
        self._sending = threading.Lock()
        self._stepped = threading.Event()
        threading.Thread(target=self._run, name="send", daemon=True).start()

    def add(self, message: Ready | EngineMessage) -> None:
        self._messages.append(message)

    def flush(self) -> None:
        """Send all collected messages: on this thread, as a hand-over to another costs more than
        sending, but on the sending thread while the socket is full."""
        if self._messages and not self._send_at_once():
            self._stepped.set()

    def close(self) -> None:
        with self._sending:
            self._is_closed = True
            self._connection.close()

    def _run(self) -> None:
        """The sending thread: sends what `flush` could not."""
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
        """Send the batch. `_sending` is held, so that messages keep their order."""
        batch = [self._messages.popleft() for _ in range(len(self._messages))]
        if batch:
            # If the parent is gone, the receiving thread notices and waits for the next one.
            with contextlib.suppress(OSError):
                self._connection.send_bytes(pickle.dumps(batch, pickle.HIGHEST_PROTOCOL))


def main() -> None:
    parent = Connection(int(sys.argv[1]))
    try:
        terms: Terms = parent.recv()
    except EOFError:  # The parent died at once.
        return
    listener = _takeover_listener(terms, parent, int(sys.argv[2]))
    # Ctrl-C in a terminal is the parent's business: it drains, then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # On import bitsandbytes warns of an optional kernel that is not installed.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Objects loaded now stay for good: collecting garbage among them takes a quarter of the start.
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
        # A worker may have been killed because this engine hangs: then it is not handed on.
        if not comes_round(engine):
            os._exit(EXIT_LOOP_BROKEN)
        link.serve(served, engine)
        served = listener.next() if listener is not None else None
    os._exit(0)


def comes_round(engine: Engine) -> bool:
    """Whether the engine's loop still runs: it completes a round within ROUND_SECONDS."""
    try:
        engine.ping().result(ROUND_SECONDS)
    except (EngineError, FutureTimeoutError):
        return False
    return True


def _takeover_listener(
    terms: Terms, parent: Connection, parent_pid: int
) -> TakeoverListener | None:
    """The listener for the next parent. Without one (None), this process dies with its parent."""
    if terms.place is not None and sys.platform == "linux":
        try:
            return TakeoverListener(terms, parent)
        except OSError:  # Another engine on this machine listens at the same address.
            logging.exception("this engine cannot be taken over")
    die_with_parent(parent_pid)
    return None


class ParentLink:
    """Serves one parent at a time over its connection."""

    def __init__(self) -> None:
        self._outbox: StepMessages | None = None

    def flush(self) -> None:
        outbox = self._outbox
        if outbox is not None:
            outbox.flush()

    def serve(self, parent: Connection, engine: Engine) -> None:
        """Serve `parent` until it is gone, then cancel its requests."""
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
    """Pass the parent's messages to the engine until it is gone. Never waits for the engine."""
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
        # A refusal needs no step of the engine: no step would flush it.
        outbox.flush()


def _submit(
    message: Submit, engine: Engine, handles: dict[int, Handle], outbox: StepMessages
) -> None:
    number = message.number

    def done(handle: Handle) -> None:
        handles.pop(number, None)
        outbox.add(Done(number, handle.outcome()))

    def on_delta(delta: Delta) -> None:
        outbox.add(row_of(number, delta))

    try:
        handle = engine.submit(message.request)
    except EngineError as error:
        outbox.add(Done(number, error))
        return
    handles[number] = handle
    if message.request.stream:
        handle.subscribe(on_delta)
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
