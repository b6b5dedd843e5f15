"""A child process with a long task: watched, stopped on request, ended with its parent."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from helox.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER_ERROR

POLL_SECONDS = 0.25
TERMINATE_GRACE_SECONDS = 20.0
LOG_TAIL_BYTES = 2_000
# Lower CPU priority than interactive work.
NICENESS = 5
ERROR_FILE = "error.json"
# The system's wording, which libraries pass on.
NO_ROOM = os.strerror(errno.ENOSPC)


class ChildFailed(RuntimeError):
    """The child ended with a failure that is nobody's input: a crash, a kill."""


class ChildRefused(ValueError):
    """The child refused its input. `report` is its error file."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__(report.get("message", "refused"))
        self.report = report


class ChildInterrupted(RuntimeError):
    """The child was told to stop and has saved what it can go on from."""


def run_child(
    module: str, arguments: list[str], work_dir: Path, should_stop: Callable[[], bool], threads: int
) -> None:
    """Run `python -m module …` until it ends; `should_stop` is asked meanwhile.

    Its output goes to `work_dir`/child.log. Raises `ChildRefused`, `ChildInterrupted`,
    `ChildFailed`, `OSError` where its disk was full, and, after ending it, whatever `should_stop`
    raises.
    """
    _remove_report(work_dir)
    with (work_dir / "child.log").open("w+b") as log:
        process = _start(module, arguments, threads, subprocess.DEVNULL, log)
        _supervise(process, work_dir, should_stop, log)


class Standby:
    """A child that has loaded its libraries and waits to be told what to do.

    Start and use it from the thread that lives as long as the process: it dies with that thread.
    """

    def __init__(self, module: str, arguments: list[str], threads: int) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - the child writes while it lives
        self._process = _start(module, arguments, threads, subprocess.PIPE, self._log)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def run(self, argument: str, work_dir: Path, should_stop: Callable[[], bool]) -> None:
        """Give the child `argument`, a line of text, and supervise it as `run_child` does."""
        assert self._process.stdin is not None
        _remove_report(work_dir)
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(argument.encode() + b"\n")
        with self._log as log:
            _supervise(self._process, work_dir, should_stop, log)


def _start(
    module: str, arguments: list[str], threads: int, stdin: int, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments, "--die-with-parent", str(os.getpid())],
        stdin=stdin,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
    )
    with suppress(OSError):  # it has ended already, or this system has no such thing
        os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    return process


def _remove_report(work_dir: Path) -> None:
    """Remove an earlier attempt's report before this one begins."""
    (work_dir / ERROR_FILE).unlink(missing_ok=True)


def _supervise(
    process: subprocess.Popen[bytes],
    work_dir: Path,
    should_stop: Callable[[], bool],
    log: IO[bytes],
) -> None:
    try:
        _wait(process, should_stop)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    _raise_for_status(process.returncode, work_dir, log)


def _wait(process: subprocess.Popen[bytes], should_stop: Callable[[], bool]) -> None:
    while True:
        try:
            process.wait(timeout=POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            pass
        if should_stop():
            process.terminate()
            try:
                process.wait(timeout=TERMINATE_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise ChildInterrupted("stopped on request")


def _raise_for_status(status: int, work_dir: Path, log: IO[bytes]) -> None:
    if status == EXIT_DONE:
        return
    report = read_json(work_dir / ERROR_FILE)
    if status == EXIT_USER_ERROR:
        raise ChildRefused(report or _last_report(log))
    if status == EXIT_INTERRUPTED:
        raise ChildInterrupted("interrupted")
    if status < 0:
        raise ChildFailed(f"ended by signal {-status}")
    message = str(report.get("message") or f"exit status {status}: {_tail(log)}")
    if NO_ROOM in message:
        # As if this process had met it: a step that waits for room has not failed.
        raise OSError(errno.ENOSPC, NO_ROOM)
    raise ChildFailed(message)


def _last_report(log: IO[bytes]) -> dict[str, Any]:
    """The child's last line, which may be its report."""
    line = _tail(log)
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"code": "refused", "message": line}


def _tail(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
    text = log.read().decode(errors="replace").strip()
    return text.splitlines()[-1] if text else "no output"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file that its writer replaces atomically; empty while there is none."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return found if isinstance(found, dict) else {}
