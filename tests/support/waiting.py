"""Waiting for what others do, and doing something at the same moment in several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Found = TypeVar("Found")

PAUSE_SECONDS = 0.05


def eventually(look: Callable[[], Found], seconds: float = 10.0, what: str = "it") -> Found:
    """What `look` returns once that is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} has not come to pass in {seconds:g} s"
        time.sleep(PAUSE_SECONDS)


def together(calls: Sequence[Callable[[], Found]]) -> list[Found]:
    """Make all calls at once, each in its thread; their results, in order."""
    barrier = threading.Barrier(len(calls))

    def make(call: Callable[[], Found]) -> Found:
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(make, calls))
