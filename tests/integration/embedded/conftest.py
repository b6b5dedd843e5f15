"""Stacks of small programs, taken ports, open folders."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded import Stack
from tests.support.stacks import ELSEWHERE, TABLES, StackMaker, left


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
