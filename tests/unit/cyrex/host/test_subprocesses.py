"""A watched child process: how it ends, and that it never stays behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from cyrex.host.subprocesses import (
    NICENESS,
    ChildFailed,
    ChildInterrupted,
    ChildRefused,
    Standby,
    read_json,
    run_child,
)

PRELUDE = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
assert sys.argv[-2:] == ["--die-with-parent", str(os.getppid())]
(folder / "pid").write_text(str(os.getpid()))
"""

Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(body, watch)` runs the script `body` as a child, in `tmp_path`."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def start(body: str, watch: Callable[[], bool] = bool, threads: int = 1) -> None:
        (tmp_path / "a_child.py").write_text(PRELUDE + body)
        run_child("a_child", [str(tmp_path)], tmp_path, watch, threads)

    return start


def is_gone(folder: Path) -> bool:
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_that_ends_well(run: Run, tmp_path: Path) -> None:
    run("print('hello', os.environ['OMP_NUM_THREADS'])", threads=3)
    assert (tmp_path / "child.log").read_text() == "hello 3\n"


@pytest.mark.parametrize("reported", [True, False])
def test_a_full_disk_is_an_outage_and_no_failure(run: Run, reported: bool) -> None:
    said = "SafetensorError: I/O error: No space left on device (os error 28)"
    report = json.dumps({"code": "internal", "message": said})
    body = f"(folder / 'error.json').write_text({report!r})" if reported else f"print({said!r})"
    with pytest.raises(OSError, match="No space left on device") as error:
        run(f"{body}\nsys.exit(1)")
    assert error.value.errno == errno.ENOSPC


def test_a_refusal_carries_the_childs_report(run: Run) -> None:
    report = {"code": "bad_data", "message": "line 3: output: is missing", "field": "output"}
    with pytest.raises(ChildRefused, match="line 3") as refused:
        run(f"(folder / 'error.json').write_text({json.dumps(report)!r}); sys.exit(2)")
    assert refused.value.report == report


def test_a_refusal_without_a_report_shows_the_last_line(run: Run) -> None:
    with pytest.raises(ChildRefused, match="no such option"):
        run("print('usage'); print('no such option'); sys.exit(2)")


def test_a_crash_says_what_it_can(run: Run) -> None:
    with pytest.raises(ChildFailed, match="exit status 1: ValueError: odd"):
        run("raise ValueError('odd')")
    with pytest.raises(ChildFailed, match="the disk is full"):
        run(
            "(folder / 'error.json').write_text('{\"message\": \"the disk is full\"}'); sys.exit(1)"
        )


def test_a_killed_child_names_the_signal(run: Run) -> None:
    with pytest.raises(ChildFailed, match="signal 9"):
        run("os.kill(os.getpid(), signal.SIGKILL)")


def test_a_child_that_saved_its_work_was_interrupted(run: Run) -> None:
    with pytest.raises(ChildInterrupted):
        run("sys.exit(75)")


def test_an_old_report_is_not_taken_for_a_new_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "error.json").write_text('{"message": "of another day"}')
    with pytest.raises(ChildFailed) as failed:
        run("sys.exit(1)")
    assert "of another day" not in str(failed.value)


def test_a_watch_that_says_stop_ends_the_child_gently(run: Run, tmp_path: Path) -> None:
    body = """
signal.signal(signal.SIGTERM, lambda *_: ((folder / "saved").touch(), sys.exit(75)))
(folder / "ready").touch()
time.sleep(60)
"""
    with pytest.raises(ChildInterrupted):
        run(body, watch=lambda: (tmp_path / "ready").exists())
    assert (tmp_path / "saved").exists()
    assert is_gone(tmp_path)


def test_a_watch_that_raises_leaves_no_child(run: Run, tmp_path: Path) -> None:
    def lost() -> bool:
        if (tmp_path / "pid").exists():
            raise RuntimeError("the lease is lost")
        return False

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="the lease is lost"):
        run("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", watch=lost)
    assert is_gone(tmp_path)
    assert time.monotonic() - began < 10


def test_a_report_is_an_object_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    assert read_json(path) == {}
    path.write_text("[1]")
    assert read_json(path) == {}
    path.write_text('{"step": 3}')
    assert read_json(path) == {"step": 3}


WAITING = """
print("loaded", flush=True)
line = sys.stdin.readline().rstrip("\\n")
if not line:
    sys.exit(0)
print("told", line, flush=True)
"""


@pytest.fixture
def standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Standby]:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def start(body: str) -> Standby:
        (tmp_path / "a_child.py").write_text(PRELUDE + WAITING + body)
        return Standby("a_child", [str(tmp_path)], 1)

    return start


def test_a_child_that_stood_by_goes_on_with_what_it_is_told(
    standby: Callable[[str], Standby], tmp_path: Path
) -> None:
    child = standby("(folder / 'done').write_text(line)")
    assert child.is_alive
    child.run("a task", tmp_path, bool)
    assert (tmp_path / "done").read_text() == "a task"
    assert not child.is_alive


def test_a_child_that_stood_by_ends_like_any_other(
    standby: Callable[[str], Standby], tmp_path: Path
) -> None:
    with pytest.raises(ChildFailed, match="ValueError: odd"):
        standby("raise ValueError('odd')").run("x", tmp_path, bool)
    with pytest.raises(ChildInterrupted):
        standby("time.sleep(60)").run("x", tmp_path, lambda: True)
    assert is_gone(tmp_path)


def test_a_refusal_that_comes_at_once_is_not_lost(
    standby: Callable[[str], Standby], tmp_path: Path
) -> None:
    """Libraries loaded, a bad specification is refused before the parent looks again."""
    (tmp_path / "error.json").write_text('{"message": "of another day"}')
    child = standby(
        "(folder / 'error.json').write_text('{\"message\": \"a bad field\"}'); sys.exit(2)"
    )
    child._process.stdin = SlowToReturn(child._process)  # type: ignore[assignment]
    with pytest.raises(ChildRefused, match="a bad field"):
        child.run("x", tmp_path, bool)


class SlowToReturn:
    """A pipe to a process that gets the processor at once, while its writer waits for it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        self._process, self._pipe = process, process.stdin

    def __enter__(self) -> IO[bytes]:
        return self._pipe

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.wait(10)


def test_a_child_that_died_while_it_stood_by(
    standby: Callable[[str], Standby], tmp_path: Path
) -> None:
    child = standby("")
    while not (tmp_path / "pid").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(int((tmp_path / "pid").read_text()), 9)
    with pytest.raises(ChildFailed, match="signal 9"):
        child.run("x", tmp_path, bool)
    assert not child.is_alive


def test_a_training_stands_back_where_cores_are_shared(run: Run, tmp_path: Path) -> None:
    run("time.sleep(0.5); print(os.getpriority(os.PRIO_PROCESS, 0))")
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert int((tmp_path / "child.log").read_text()) == min(19, mine + NICENESS)
