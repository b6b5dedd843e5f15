"""Clients that go away are noticed at once, and each for itself."""

from __future__ import annotations

import socket
import threading

from web.live.watching import Watcher


def test_a_closed_connection_is_told_and_an_open_one_is_not() -> None:
    watcher = Watcher()
    ours, theirs = socket.socketpair()
    other, other_end = socket.socketpair()
    gone, other_gone = threading.Event(), threading.Event()
    with (
        ours,
        other,
        other_end,
        watcher.watch({"gunicorn.socket": ours}, gone.set),
        watcher.watch({"gunicorn.socket": other}, other_gone.set),
    ):
        theirs.sendall(b"the next request")
        assert not gone.wait(0.05), "what it sends is no good-bye"
        theirs.close()
        assert gone.wait(2)
        assert not other_gone.is_set()


def test_after_the_watch_nothing_is_told() -> None:
    watcher = Watcher()
    ours, theirs = socket.socketpair()
    gone = threading.Event()
    with ours:
        for _ in range(3):
            with watcher.watch({"gunicorn.socket": ours}, gone.set):
                pass
        theirs.close()
        assert not gone.wait(0.1)


def test_without_gunicorns_socket_there_is_nothing_to_watch() -> None:
    with Watcher().watch({}, lambda: None):
        pass
