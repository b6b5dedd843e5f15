from __future__ import annotations

import socket
import ssl
import time

import pytest
from urllib3.connection import HTTPConnection

from cyrex.tools.connection import TimeBudget, deadline, reason_of


def test_a_part_is_never_more_than_what_is_left() -> None:
    budget = TimeBudget(100)
    assert budget.at_most(5) == 5
    assert 0 < budget.at_most(1000) <= 100
    assert budget.spent + budget.left == pytest.approx(100, abs=1)


def test_a_budget_that_is_spent_is_a_time_out() -> None:
    with pytest.raises(TimeoutError):
        TimeBudget(0).at_most(1)


def test_the_deadline_cuts_a_connection_that_says_nothing() -> None:
    connection = HTTPConnection("localhost")
    ours, theirs = socket.socketpair()
    connection.sock = ours
    with theirs, ours:
        ours.settimeout(30)
        started = time.monotonic()
        with deadline(connection, TimeBudget(0.05)):
            assert ours.recv(1) == b""
        assert time.monotonic() - started < 30, "the socket's own time-out"


def test_within_its_time_the_connection_stays() -> None:
    connection = HTTPConnection("localhost")
    ours, theirs = socket.socketpair()
    connection.sock = ours
    with theirs, ours:
        with deadline(connection, TimeBudget(60)):
            theirs.sendall(b"a")
            assert ours.recv(1) == b"a"
        theirs.sendall(b"b")
        assert ours.recv(1) == b"b"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError("x"), "timed out"),
        (OSError("Read timed out."), "timed out"),
        (ConnectionRefusedError(111, "x"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "the name is not known (Name"),
        (ssl.SSLError(1, "bad record"), "TLS: "),
        (OSError("<object at 0x7f>"), "OSError"),
    ],
)
def test_the_reason_is_one_line_without_addresses(error: Exception, reason: str) -> None:
    assert reason_of(error).startswith(reason)
