"""An engine that outlives its parent, and the next parent that takes it over.

Loading a base model takes seconds, minutes where it is large, and a worker that was killed is soon
back. Meanwhile its engine waits at an address of the kernel's (an abstract socket: it leaves no
file), where it hears only processes of its own user. Linux only; elsewhere nobody is ever met.
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

from cyrex.serving.wire import Meeting, Terms

logger = logging.getLogger(__name__)

# An engine that does not answer its next parent in this time is ended by it.
ANSWER_SECONDS = 5.0
END_SECONDS = 10.0
REST_SECONDS = 0.1
PACKAGES = ("engine", "serving")
LIBRARIES = ("torch", "transformers", "llguidance")
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, user, group


def code_sha256() -> str:
    """Of what both ends run: their source, the libraries' versions, the devices they may see."""
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
    """Where an engine waits for its next parent."""
    named = hashlib.sha256(f"{os.getuid()} {place}".encode()).hexdigest()
    return b"\0cyrex-engine-" + named.encode()


# ---- the engine's side ----


class TakeoverListener:
    """Listens for the next parent, which takes over once the present one is gone."""

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
        """Wait for the next parent, now that there is none; None: nobody came in time."""
        try:
            return self._next.get(timeout=self._terms.linger_seconds)
        except queue.Empty:
            return None

    def _run(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # no file to be had, say: the next one may find one
                time.sleep(REST_SECONDS)
                continue
            pid, user = _peer(caller)
            connection = Connection(caller.detach())
            try:
                meeting = self._meet(connection) if user == os.getuid() else "unknown"
                connection.send(meeting)
            except (EOFError, OSError):
                continue
            if meeting == "taken":
                logger.warning("process %d takes this engine over", pid)
                self._parent = connection
                self._next.put(connection)

    def _meet(self, connection: Connection) -> Meeting:
        if not _is_gone(self._parent):
            return "busy"
        if not connection.poll(ANSWER_SECONDS):
            raise EOFError
        try:
            return "taken" if connection.recv() == self._terms else "unlike"
        except (AttributeError, TypeError, pickle.UnpicklingError):  # the words of other code
            return "unlike"


def _is_gone(connection: Connection) -> bool:
    """Whether the process at the other end has ended."""
    hung_up = select.poll()
    try:
        hung_up.register(connection.fileno(), 0)
    except OSError:  # closed at this end already, for that reason
        return True
    return bool(hung_up.poll(0))


def _peer(end: socket.socket) -> tuple[int, int]:
    """The process and the user at the other end."""
    sent = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, user, _group = CREDENTIALS.unpack(sent)
    return pid, user


# ---- the parent's side ----


class Adopted:
    """An engine's process that another parent has started."""

    def __init__(self, pid: int, pidfd: int, connection: Connection) -> None:
        self.pid = pid
        self.connection = connection
        self._pidfd = pidfd

    def kill(self) -> None:
        _kill(self._pidfd)

    def end(self) -> str:
        """Make sure that it is gone; returns how it ended, for people."""
        try:
            _end(self._pidfd)
        finally:
            os.close(self._pidfd)
        return "how is not known, as it had been taken over"


def take_over(terms: Terms) -> Adopted | None:
    """The engine that a predecessor of this process left, if it is on the very same terms.

    Any other one that it left is ended, so that no model is in memory twice.
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
    meeting = _ask(connection, terms)
    if meeting == "taken":
        return Adopted(pid, pidfd, connection)
    connection.close()
    try:
        if meeting != "busy":
            logger.warning("ending the engine %d that a predecessor left: %s", pid, meeting)
            _end(pidfd)
    finally:
        os.close(pidfd)
    return None


def _ask(connection: Connection, terms: Terms) -> Meeting:
    with contextlib.suppress(EOFError, OSError):
        connection.send(terms)
        if connection.poll(ANSWER_SECONDS):
            meeting: Meeting = connection.recv()
            return meeting
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
