"""Order, restarts and failures, with small real programs."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from embedded import Stack, StackError
from tests.support.stacks import StackMaker, left, wait_for


def order(tmp_path: Path) -> list[str]:
    return (tmp_path / "order").read_text().splitlines()


def answers(stack: Stack) -> bool:
    try:
        urllib.request.urlopen(stack.environment["CYREX_API_URL"], timeout=2)
    except urllib.error.HTTPError:
        return True  # it serves a folder that does not exist
    except OSError:
        return False
    return True


def test_stops_in_the_reverse_order_of_starting(make_stack: StackMaker, tmp_path: Path) -> None:
    stack = make_stack("simple").start()
    assert answers(stack)
    assert "the step ran" in (tmp_path / "logs" / "step.log").read_text()
    assert stack.stop() == 0
    assert order(tmp_path) == [
        f"{name} {what}" for name in ("third", "second", "first") for what in ("asked", "gone")
    ]
    assert left(tmp_path) == []


def test_what_its_processes_write_is_for_their_owner_alone(
    make_stack: StackMaker, tmp_path: Path
) -> None:
    make_stack("simple").start().stop()
    made = [tmp_path / "order", *(tmp_path / "run").glob("*.ready")]
    assert len(made) == 4
    assert [path.stat().st_mode & 0o077 for path in made] == [0] * 4


def test_a_killed_process_comes_back_and_the_others_stay(make_stack: StackMaker) -> None:
    stack = make_stack("simple").start()
    others = {name: stack.pid(name) for name in ("first", "second", "third")}
    for restarts in (1, 2, 3):
        old = stack.kill("web")
        new = stack.wait_ready("web", 10)
        assert new != old
        assert stack.restarts("web") == restarts
        assert answers(stack)
    assert {name: stack.pid(name) for name in others} == others


def test_a_state_that_cannot_be_written_ends_nothing(make_stack: StackMaker) -> None:
    stack = make_stack("simple").start()
    # Stands for a full disk, which a test cannot make.
    obstacle = stack.layout.run / ".state.json.new"
    obstacle.mkdir()
    others = {name: stack.pid(name) for name in ("first", "second", "third")}
    supervisor = stack.supervisor_pid
    stack.kill("web")
    log = stack.layout.log("supervisor")
    assert wait_for(lambda: "web        ready again" in log.read_text(), 10)
    assert log.read_text().count(str(obstacle)) == 1
    assert answers(stack)
    obstacle.rmdir()
    stack.wait_ready("web", 10)
    assert stack.restarts("web") == 1
    assert {name: stack.pid(name) for name in others} == others
    assert stack.supervisor_pid == supervisor


@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_restarts_whatever_ends(make_stack: StackMaker, name: str) -> None:
    stack = make_stack("simple").start()
    # Even a process that ends by itself, with status 0, was not asked to.
    stack.kill(name, signal.SIGTERM)
    stack.wait_ready(name, 10)
    assert stack.restarts(name) == 1


def test_the_children_of_a_killed_process_do_not_outlive_it(
    make_stack: StackMaker, tmp_path: Path
) -> None:
    stack = make_stack("trees", servers=True, processes="parent").start()
    assert wait_for(lambda: len(family(tmp_path, stack)) == 3, 10)
    old = set(family(tmp_path, stack))
    stack.kill("parent")
    stack.wait_ready("parent", 10)
    assert not old & set(left(tmp_path))


def family(tmp_path: Path, stack: Stack) -> list[int]:
    servers = {stack.pid("postgres"), stack.pid("valkey")}
    names = {pid: Path(f"/proc/{pid}/exe").readlink().name for pid in left(tmp_path)}
    return [pid for pid, name in names.items() if pid not in servers and name != "postgres"]


def test_waits_longer_after_each_death(make_stack: StackMaker) -> None:
    stack = make_stack("simple").start()
    waits = []
    for _ in range(4):
        stack.kill("second")
        began = time.monotonic()
        stack.wait_ready("second", 10)
        waits.append(time.monotonic() - began)
    # 0.1, 0.2, 0.4 and 0.8 s, and what the start itself takes: much less.
    assert waits[3] >= 0.8


def test_a_process_that_ignores_the_signal_is_killed(
    make_stack: StackMaker, tmp_path: Path
) -> None:
    stack = make_stack("stubborn").start()
    began = time.monotonic()
    assert stack.stop() == 0
    assert 1.0 <= time.monotonic() - began < 30.0
    assert order(tmp_path) == ["other asked", "other gone"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("broken", ["broken does not start (exit status 1)", "no such luck", "broken.log"]),
        ("silent", ["silent is not ready after 1 s"]),
        ("failing_step", ["step does not start (exit status 1)", "no such table"]),
    ],
)
def test_a_failed_start_says_why_and_leaves_nothing(
    make_stack: StackMaker, tmp_path: Path, table: str, said: list[str]
) -> None:
    stack = make_stack(table)
    with pytest.raises(StackError) as caught:
        stack.start()
    for part in said:
        assert part in str(caught.value)
    assert left(tmp_path) == []
    assert not (tmp_path / "logs" / "later.log").exists()


def test_only_the_processes_asked_for(make_stack: StackMaker) -> None:
    stack = make_stack("simple", processes="second").start()
    assert stack.pid("second")
    with pytest.raises(StackError, match="third: no such process; there are step, second"):
        stack.pid("third")


def test_an_unknown_process_is_refused(make_stack: StackMaker) -> None:
    with pytest.raises(StackError, match="processes: fourth unknown; there are first, second"):
        make_stack("simple", processes="fourth").start()


def test_two_stacks_on_one_folder(make_stack: StackMaker, tmp_path: Path) -> None:
    stack = make_stack("simple").start()
    pids = left(tmp_path)
    with pytest.raises(StackError, match=r"already running on .* \(supervisor: process \d+\)"):
        make_stack("simple").start()
    assert left(tmp_path) == pids
    assert answers(stack)


def test_logs_of_the_last_run_are_kept(make_stack: StackMaker, tmp_path: Path) -> None:
    for _ in range(2):
        make_stack("simple", processes="second").start().stop()
    assert (tmp_path / "logs" / "step.log.1").read_text().count("the step ran") == 1
    assert (tmp_path / "logs" / "step.log").read_text().count("the step ran") == 1
    assert os.stat(tmp_path / "logs" / "step.log").st_mode & 0o777 == 0o600
