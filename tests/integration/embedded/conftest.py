"""Helpers of these tests: stacks of small programs, and a look at what runs."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded import Stack
from embedded.layout import Layout
from embedded.servers import postgres
from embedded.stack.plan import MARKER
from embedded.supervisor import kernel

# Given, so that no server is started.
ELSEWHERE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
TABLES = "tests.integration.embedded.tables"

StackMaker = Callable[..., Stack]


def left(folder: Path) -> list[int]:
    """The pids of all processes of the stack on `folder`, children and detached ones too."""
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


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[StackMaker]:
    """Makes stacks of a table of `tables.py`, without servers unless `servers` says so."""
    made: list[Stack] = []

    def make(table: str, servers: bool = False, processes: str = "all") -> Stack:
        none = {"DATABASE_URL": "", "REDIS_URL": ""}
        stack = Stack(
            tmp_path, processes, none if servers else ELSEWHERE, table=f"{TABLES}:{table}"
        )
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.stop()
    assert left(tmp_path) == []


@pytest.fixture
def listen() -> Iterator[Callable[[int], None]]:
    """Takes a port for the length of a test."""
    taken: list[socket.socket] = []

    def take(port: int) -> None:
        taken.append(socket.create_server(("127.0.0.1", port)))

    yield take
    for held in taken:
        held.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; `tmp_path` is its owner's only."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
