"""Nothing of a stack outlives its supervisor, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embedded import Stack
from embedded.supervisor import kernel
from tests.support.stacks import StackMaker, left, wait_for

# gunicorn and its workers, Celery and its pool, a parent, its child and a detached grandchild.
OWN_PROCESSES = 3 + 3 + 3
GONE_SECONDS = 10.0


@pytest.fixture
def tree(make_stack: StackMaker, tmp_path: Path) -> Stack:
    stack = make_stack("trees", servers=True).start()
    assert wait_for(lambda: len(programs(tmp_path)) >= OWN_PROCESSES + 1, 20), programs(tmp_path)
    return stack


def programs(folder: Path) -> list[str]:
    """What runs beside Postgres and its children."""
    return [name for name in map(kernel.executable, left(folder)) if name != "postgres"]


def test_an_ordinary_stop_leaves_nothing(tree: Stack, tmp_path: Path) -> None:
    assert tree.stop() == 0
    assert left(tmp_path) == []


def test_what_may_outlive_its_process_is_left_until_the_stack_stops(
    make_stack: StackMaker, tmp_path: Path
) -> None:
    stack = make_stack("heirs").start()
    assert wait_for(lambda: sleepers(tmp_path), 10)
    (first,) = sleepers(tmp_path)
    family = left(tmp_path)
    stack.kill("parent")
    assert wait_for(lambda: len(sleepers(tmp_path)) == 2, 10)
    stack.wait_ready("parent")
    assert first in left(tmp_path)
    middle = [pid for pid in family if pid in left(tmp_path) and "sleep(1000)" in words(pid)]
    assert not middle, "its other children have ended"
    assert stack.stop() == 0
    assert left(tmp_path) == []


def sleepers(folder: Path) -> list[int]:
    return [pid for pid in left(folder) if kernel.executable(pid) == "sleep"]


def words(pid: int) -> str:
    return " ".join(kernel.command_line(pid))


@pytest.mark.parametrize("victim", ["guard", "supervisor"])
def test_kill_of_either_watcher(tree: Stack, tmp_path: Path, victim: str) -> None:
    pids = {"guard": tree.guard_pid, "supervisor": tree.supervisor_pid}
    os.kill(pids[victim], signal.SIGKILL)
    assert wait_for(lambda: not left(tmp_path), GONE_SECONDS), programs(tmp_path)
    assert wait_for(lambda: not any(map(kernel.is_alive, pids.values())), GONE_SECONDS)


def test_kill_of_both_watchers_at_once(tree: Stack, tmp_path: Path) -> None:
    for pid in (tree.guard_pid, tree.supervisor_pid):
        os.kill(pid, signal.SIGSTOP)  # so that neither sees the other's end
    for pid in (tree.guard_pid, tree.supervisor_pid):
        os.kill(pid, signal.SIGKILL)
    # Each process carries a death signal, and pools end with their parents. What hides in a
    # session of its own and has no such wish is ended by the next start, before anything else.
    assert wait_for(lambda: set(programs(tmp_path)) <= {"sleep", python()}, GONE_SECONDS)
    assert wait_for(lambda: len(left(tmp_path)) <= 2, GONE_SECONDS), programs(tmp_path)
    hidden = left(tmp_path)
    tree.stop()
    with Stack(tmp_path, "servers", {"DATABASE_URL": "", "REDIS_URL": ""}):
        assert not any(map(kernel.is_alive, hidden))


def python() -> str:
    return Path(sys.executable).resolve().name


def test_kill_of_the_process_group_that_a_shell_sees(tree: Stack, tmp_path: Path) -> None:
    os.killpg(tree.guard_pid, signal.SIGKILL)
    assert wait_for(lambda: not left(tmp_path), GONE_SECONDS), programs(tmp_path)


def test_up_ends_with_its_parent_when_told_to(tmp_path: Path) -> None:
    arguments = f"up --with-parent --processes servers --data-dir {tmp_path}"
    parent = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -m embedded {arguments}; true"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DATABASE_URL": "", "REDIS_URL": ""},
    )
    assert parent.stdout is not None
    assert any(line.startswith("up.") for line in parent.stdout)
    parent.kill()
    parent.wait()
    assert wait_for(lambda: not left(tmp_path), GONE_SECONDS)
