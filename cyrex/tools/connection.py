"""One connection to one checked address, and the limits of its time."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from cyrex.tools.addresses import Address, Target, resolve
from settings import get_settings


@dataclass(frozen=True)
class CallLimits:
    """Times in seconds; `total` bounds everything from the look-up to the last byte."""

    connect: float
    read: float
    total: float
    response_bytes: int

    @classmethod
    def of_settings(cls) -> CallLimits:
        settings = get_settings()
        return cls(
            settings.tool_connect_seconds,
            settings.tool_read_seconds,
            settings.tool_total_seconds,
            settings.tool_response_bytes,
        )


class TimeBudget:
    """A call's total time, in seconds, and the part of it that is left."""

    def __init__(self, total: float) -> None:
        self._started = time.monotonic()
        self._ends = self._started + total

    @property
    def left(self) -> float:
        return self._ends - time.monotonic()

    @property
    def spent(self) -> float:
        return time.monotonic() - self._started

    def at_most(self, seconds: float) -> float:
        """`seconds`, or what is left. Raises `TimeoutError` when nothing is."""
        left = self.left
        if left <= 0:
            raise TimeoutError("no time is left")
        return min(seconds, left)


def connect(target: Target, limits: CallLimits, budget: TimeBudget) -> HTTPConnection:
    """Connected to one of the checked addresses; the name is in SNI, certificate and Host only."""
    addresses = resolve(target, budget.at_most(limits.connect))
    for number, address in enumerate(addresses, start=1):
        connection = _connection(target, address, budget.at_most(limits.connect))
        try:
            connection.connect()
            return connection
        except (OSError, HTTPError):
            connection.close()
            if number == len(addresses):
                raise
    raise OSError("the name has no address")


def _connection(target: Target, address: Address, seconds: float) -> HTTPConnection:
    if target.scheme == "http":
        return HTTPConnection(str(address), target.port, timeout=seconds)
    return HTTPSConnection(
        str(address),
        target.port,
        timeout=seconds,
        ssl_context=_tls(),
        # For SNI, and what OpenSSL holds the certificate against.
        server_hostname=target.host,
    )


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """The system's authorities (SSL_CERT_FILE adds a company's own) and the bundled ones."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@contextmanager
def deadline(connection: HTTPConnection, budget: TimeBudget) -> Iterator[None]:
    """Cut the connection when the total time is over.

    A socket's time-out starts anew with every byte: a peer that sends one now and then would hold
    us for ever.
    """
    assert connection.sock is not None
    # A descriptor of its own: the first may be closed, and its number taken, by then.
    wire = socket.socket(fileno=os.dup(connection.sock.fileno()))

    def cut() -> None:
        with suppress(OSError):
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(budget.left, 0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        wire.close()


def reason_of(error: Exception) -> str:
    """One line without addresses of objects or of the network."""
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return "timed out"
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        found = error if isinstance(error, ssl.SSLError) else error.__cause__
        return f"TLS: {getattr(found, 'verify_message', None) or getattr(found, 'reason', found)}"
    if isinstance(error, ConnectionRefusedError) or "refused" in str(error):
        return "connection refused"
    if isinstance(error, socket.gaierror):
        return f"the name is not known ({error.strerror})"
    return type(error).__name__
