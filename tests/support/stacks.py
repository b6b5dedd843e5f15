"""Stacks of small programs, and their running processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from embedded import Stack
from embedded.layout import Layout
from embedded.servers import postgres
from embedded.supervisor import kernel
from embedded.supervisor.supervisor import MARKER

# With these addresses given, a stack starts no servers.
ELSEWHERE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


TABLES = "tests.integration.embedded.tables"


StackMaker = Callable[..., Stack]


def left(folder: Path) -> list[int]:
    """The pids of all living processes of the stack on `folder`, children and detached ones too."""
    layout = Layout.at(folder)
    found = {*kernel.marked(f"{MARKER}={layout.root}"), *postgres.leftovers(layout)}
    return sorted(pid for pid in found if kernel.is_alive(pid))


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
