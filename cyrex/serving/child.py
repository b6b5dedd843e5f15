"""The process that holds the engine: `python -m cyrex.serving.child SOCKET PARENT_PID`.

The main thread receives, the engine's thread works, a third one sends. It ends when its parent
does: by the kernel's signal, and by the end of the socket.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from cyrex.engine import EngineClosed, EngineConfig, Handle
from cyrex.serving.wire import Answer, Call, Cancel, Done, Ready, StartFailed, Submit
from helox.cli import die_with_parent

if TYPE_CHECKING:
    from cyrex.engine.loop import Engine

EXIT_START_FAILED = 1
EXIT_LOOP_BROKEN = 3


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    # Ctrl-C in a terminal is the parent's business: it drains, then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # On import it tells of a kernel that is not installed, and does without.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    config: EngineConfig = connection.recv()
    try:
        config.check_base_model()
        # Imported here, so that a failing import is reported like any other failure to start.
        from cyrex.engine.loop import Engine

        engine = Engine(config, on_stopped=lambda: os._exit(EXIT_LOOP_BROKEN))
    except BaseException as error:
        traceback.print_exc()
        connection.send([StartFailed(f"{type(error).__name__}: {error}"[:1000])])
        os._exit(EXIT_START_FAILED)
    outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    outbox.put(Ready())
    threading.Thread(target=_send, args=(connection, outbox), name="send", daemon=True).start()
    _receive(connection, engine, outbox.put)
    os._exit(0)


def _receive(connection: Connection, engine: Engine, answer: Callable[[Any], None]) -> None:
    """Hand on what comes until the parent is gone. Nothing here waits for the engine."""
    handles: dict[int, Handle] = {}
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return
        if isinstance(message, Submit):
            _submit(message, engine, handles, answer)
        elif isinstance(message, Cancel):
            handle = handles.get(message.number)
            if handle is not None:
                handle.cancel()
        elif isinstance(message, Call):
            _call(message, engine, answer)


def _submit(
    message: Submit, engine: Engine, handles: dict[int, Handle], answer: Callable[[Any], None]
) -> None:
    number = message.number

    def done(handle: Handle) -> None:
        handles.pop(number, None)
        answer(Done(number, handle.outcome()))

    try:
        handle = engine.submit(message.request)
    except EngineClosed as error:
        answer(Done(number, error))
        return
    handles[number] = handle
    handle.add_done_callback(done)


def _call(message: Call, engine: Engine, answer: Callable[[Any], None]) -> None:
    def done(future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            answer(Answer(message.number, future.result()))
        else:
            answer(Answer(message.number, error=f"{type(error).__name__}: {error}"))

    if message.name == "resident":
        answer(Answer(message.number, engine.resident()))
        return
    try:
        future: Future[Any] = (
            engine.load(message.argument) if message.name == "warm" else engine.ping()
        )
    except EngineClosed as error:
        answer(Answer(message.number, error=str(error)))
        return
    future.add_done_callback(done)


def _send(connection: Connection, outbox: queue.SimpleQueue[Any]) -> None:
    """Send what is done, all at once: a step often ends several rows."""
    while True:
        batch = [outbox.get()]
        while not outbox.empty():
            batch.append(outbox.get())
        try:
            connection.send(batch)
        except OSError:
            return  # The parent is gone; the receiving thread ends the process.


if __name__ == "__main__":
    main()
