"""Takeover: an engine outlives its parent, and the next parent adopts it.

Loading a base model takes seconds, minutes where it is large, and a killed worker restarts soon.
Meanwhile its engine listens on an abstract Unix socket (it leaves no file) and accepts processes of
its own user alone. Linux only: elsewhere there is no takeover.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import queue
import select
import signal
import socket
import struct
import sys
import threading
import time
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

from cyrex.serving.wire import TakeoverReply, Terms

logger = logging.getLogger(__name__)

# An engine that does not answer a new parent in this time is killed by it.
ANSWER_SECONDS = 5.0
END_SECONDS = 10.0
REST_SECONDS = 0.1
PACKAGES = ("engine", "serving")
LIBRARIES = ("torch", "transformers", "llguidance")
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, user, group


def code_sha256() -> str:
    """SHA-256 of what both ends run: source, libraries' versions, CUDA_VISIBLE_DEVICES."""
    digest = hashlib.sha256()
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\0".encode())
    digest.update(os.environ.get("CUDA_VISIBLE_DEVICES", "all").encode() + b"\0")
    cyrex = Path(__file__).resolve().parents[1]
    for package in PACKAGES:
        for path in sorted((cyrex / package).rglob("*.py")):
            digest.update(str(path.relative_to(cyrex)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def address(place: str) -> bytes:
    """The abstract socket on which an engine waits for its next parent."""
    named = hashlib.sha256(f"{os.getuid()} {place}".encode()).hexdigest()
    return b"\0cyrex-engine-" + named.encode()


# ---- the engine's side ----


class TakeoverListener:
    """Accepts the next parent, once the present one has ended."""

    def __init__(self, terms: Terms, parent: Connection) -> None:
        """Raises OSError when another engine waits at the same place."""
        assert terms.place is not None
        self._terms = terms
        self._parent = parent
        self._next: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address(terms.place))
        self._listener.listen()
        threading.Thread(target=self._run, name="takeover", daemon=True).start()

    def next(self) -> Connection | None:
        """Wait `linger_seconds` for the next parent; None if none comes."""
        try:
            return self._next.get(timeout=self._terms.linger_seconds)
        except queue.Empty:
            return None

    def _run(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # Out of file descriptors, for example: try again later.
                time.sleep(REST_SECONDS)
                continue
            pid, user = _peer(caller)
            connection = Connection(caller.detach())
            try:
                reply = self._reply_to(connection) if user == os.getuid() else "unknown"
                connection.send(reply)
            except (EOFError, OSError):
                continue
            if reply == "taken":
                logger.warning("process %d takes this engine over", pid)
                self._parent = connection
                self._next.put(connection)

    def _reply_to(self, connection: Connection) -> TakeoverReply:
        if not _is_gone(self._parent):
            return "busy"
        if not connection.poll(ANSWER_SECONDS):
            raise EOFError
        try:
            return "taken" if connection.recv() == self._terms else "unlike"
        except (AttributeError, TypeError, pickle.UnpicklingError):  # from another code version
            return "unlike"


def _is_gone(connection: Connection) -> bool:
    """Whether the process at the other end has ended."""
    hung_up = select.poll()
    try:
        hung_up.register(connection.fileno(), 0)
    except OSError:  # This end was closed already, as the other had ended.
        return True
    return bool(hung_up.poll(0))


def _peer(end: socket.socket) -> tuple[int, int]:
    """The process and the user at the other end."""
    sent = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, user, _group = CREDENTIALS.unpack(sent)
    return pid, user


# ---- the parent's side ----


class Adopted:
    """An engine's process that was taken over from another parent."""

    def __init__(self, pid: int, pidfd: int, connection: Connection) -> None:
        self.pid = pid
        self.connection = connection
        self._pidfd = pidfd

    def kill(self) -> None:
        _kill(self._pidfd)

    def end(self) -> str:
        """Kill it and wait for its end; returns how it ended, for the log."""
        try:
            _end(self._pidfd)
        finally:
            os.close(self._pidfd)
        return "how is not known, as it had been taken over"


def take_over(terms: Terms) -> Adopted | None:
    """Adopt the engine that this process's predecessor left, if it was started on equal terms.

    On other terms the engine is killed, so that no model is in memory twice. None: no engine.
    """
    if terms.place is None or sys.platform != "linux":
        return None
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.settimeout(ANSWER_SECONDS)
            end.connect(address(terms.place))
            pid, user = _peer(end)
            if user != os.getuid():
                return None
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        end.settimeout(None)
        connection = Connection(end.detach())
    reply = _ask(connection, terms)
    if reply == "taken":
        return Adopted(pid, pidfd, connection)
    connection.close()
    try:
        if reply != "busy":
            logger.warning("ending the engine %d that a predecessor left: %s", pid, reply)
            _end(pidfd)
    finally:
        os.close(pidfd)
    return None


def _ask(connection: Connection, terms: Terms) -> TakeoverReply:
    with contextlib.suppress(EOFError, OSError):
        connection.send(terms)
        if connection.poll(ANSWER_SECONDS):
            reply: TakeoverReply = connection.recv()
            return reply
    return "mute"


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _end(pidfd: int) -> None:
    _kill(pidfd)
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    if not ended.poll(END_SECONDS * 1000):
        raise TimeoutError("an engine's process that was killed does not end")
