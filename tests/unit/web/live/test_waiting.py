"""Seats are limited, a message wakes the clients of one job, and rows are read without one too."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from web.live import waiting
from web.live.waiting import WaitingClients, client_gone, release_when

# Nothing listens there: waiters must do without messages.
NO_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def not_leaving() -> Iterator[None]:
    yield
    release_when(bool)


def test_seats_are_limited_and_given_back() -> None:
    waiters = WaitingClients(NO_REDIS, seats=2)
    with (
        waiters.seat("a", "acme") as first,
        waiters.seat("a", "acme") as second,
        waiters.seat("b", "acme") as third,
    ):
        assert first is not None
        assert second is not None
        assert third is None
    with waiters.seat("b", "acme") as fourth:
        assert fourth is not None


def test_one_company_does_not_take_all_seats() -> None:
    waiters = WaitingClients(NO_REDIS, seats=96)

    def taken(company_id: str) -> int:
        return sum(waiters.take(company_id) for _ in range(100))

    assert taken("acme") == 84
    assert taken("globex") == 11
    assert taken("initech") == 1
    for _ in range(84):
        waiters.leave("acme")
    assert taken("initech") == 74
    assert waiters._taken == 86


def test_being_woken_is_prompt_and_concerns_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    # So rarely that only the message can have been what woke it, however busy the machine is.
    monkeypatch.setattr(waiting, "POLL_SECONDS", 60)
    waiters = WaitingClients(NO_REDIS, seats=2)
    ended = threading.Event()

    def end() -> None:
        time.sleep(0.1)
        waiters.wake("b")
        time.sleep(0.1)
        ended.set()
        waiters.wake("a")

    with waiters.seat("a", "acme") as seat:
        assert seat is not None
        threading.Thread(target=end).start()
        started = time.monotonic()
        found = seat.wait(lambda: "found" if ended.is_set() else None, 60)
    assert found == "found"
    assert 0.15 < time.monotonic() - started < 30


def test_without_a_message_the_row_is_looked_at_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    looks = iter([None, None, "found"])
    with WaitingClients(NO_REDIS, seats=1).seat("a", "acme") as seat:
        assert seat is not None
        assert seat.wait(lambda: next(looks), 5) == "found"


def test_waiting_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 60)
    started = time.monotonic()
    with WaitingClients(NO_REDIS, seats=1).seat("a", "acme") as seat:
        assert seat is not None
        assert seat.wait(lambda: None, 0.2) is None
    # Not at its next look.
    assert 0.2 <= time.monotonic() - started < 30


def test_waiters_are_let_go_when_the_process_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    stopping = threading.Event()
    release_when(stopping.is_set)
    threading.Timer(0.15, stopping.set).start()
    started = time.monotonic()
    with WaitingClients(NO_REDIS, seats=1).seat("a", "acme") as seat:
        assert seat is not None
        assert seat.wait(lambda: None, 60) is None
    assert time.monotonic() - started < 30


def test_a_closed_connection_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        assert not client_gone({"gunicorn.socket": ours})
        theirs.sendall(b"next request")
        assert not client_gone({"gunicorn.socket": ours})
        assert ours.recv(100) == b"next request", "looking must not read"
        theirs.close()
        assert client_gone({"gunicorn.socket": ours})
    assert not client_gone({})
