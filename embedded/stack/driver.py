"""A stack driven from Python: `python -m embedded up` as a child, and what it says of itself.

The supervisor stays a process of its own, so that a test can kill it like any other, and so that
the caller's threads have nothing to do with it. It stops when the caller ends, however it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from embedded.layout import Layout
from embedded.stack.options import with_packages
from embedded.supervisor import kernel, logs, state
from embedded.supervisor.state import Phase, ProcessState, StackState, Status

START_SECONDS = 300.0
READY_SECONDS = 120.0
# More than the longest grace of a process.
STOP_SECONDS = 90.0
PAUSE_SECONDS = 0.02


class StackError(RuntimeError):
    """The stack did not do what was asked; the message holds what it said."""


class Stack:
    """Postgres, Valkey and `processes` (`all`, `servers` or names) on the folder `data_dir`.

    `env` is laid over this process's environment; an empty value takes a variable away.
    Output goes to `logs/supervisor.log`, or to `output`. Usable as a context manager.
    """

    def __init__(
        self,
        data_dir: Path | str,
        processes: str | Iterable[str] = "all",
        env: Mapping[str, str] | None = None,
        *,
        table: str | None = None,
        fresh: bool = False,
        output: IO[str] | None = None,
    ) -> None:
        self._layout = Layout.at(data_dir)
        names = processes if isinstance(processes, str) else ",".join(processes)
        self._arguments = ["--data-dir", str(self._layout.root), "--processes", names]
        self._arguments += ["--until-stdin-closes"]
        self._arguments += ["--table", table] if table else []
        self._arguments += ["--fresh"] if fresh else []
        self._env = {**os.environ, **(env or {})}
        self._env["PYTHONPATH"] = with_packages(self._env.get("PYTHONPATH"))
        self._output = output
        self._guard: subprocess.Popen[bytes] | None = None
        self._killed: dict[str, int] = {}

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a program to this stack."""
        return dict(json.loads(self._layout.environment.read_text()))

    @property
    def guard_pid(self) -> int:
        """The pid of `python -m embedded up`."""
        return self._state().guard

    @property
    def supervisor_pid(self) -> int:
        """The pid of the process that starts and restarts the others."""
        return self._state().supervisor

    def start(self) -> Self:
        """Returns when everything is ready. Raises `StackError`."""
        assert self._guard is None, "already started"
        self._layout.make_folders()
        log = self._layout.log("supervisor")
        output = self._output.fileno() if self._output else logs.append_to(log)
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "embedded", "up", *self._arguments],
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        if self._output is None:
            os.close(output)
        try:
            self._wait_until_ready(self._guard)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> int:
        """Stop everything, in order. Returns the exit status of `up`."""
        if self._guard is None:
            return 0
        guard, self._guard = self._guard, None
        assert guard.stdin is not None
        guard.stdin.close()
        try:
            status = guard.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            guard.kill()
            raise StackError(f"the stack on {self._layout.root} did not stop") from None
        # When the guard was killed, its supervisor is still at it.
        self._until(lambda: not self._is_supervised_by(guard), STOP_SECONDS, "it did not stop")
        return status

    def pid(self, name: str) -> int:
        """Raises `StackError` when it does not run right now."""
        pid = self._process(name).pid
        if pid is None:
            raise StackError(f"{name} is not running")
        return pid

    def restarts(self, name: str) -> int:
        return self._process(name).restarts

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Signal a process. Returns its pid; `wait_ready` then waits for its successor."""
        pid = self.pid(name)
        kernel.send(pid, number)
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            self._killed[name] = pid
        return pid

    def wait_ready(self, name: str, seconds: float = READY_SECONDS) -> int:
        """Wait until a process is ready, in a new life if it was killed. Returns its pid."""

        def ready() -> bool:
            process = self._process(name)
            return process.status is Status.READY and process.pid != self._killed.get(name)

        self._until(ready, seconds, f"{name} is not ready after {seconds:.0f} s")
        return self.pid(name)

    def _state(self) -> StackState:
        found = state.read(self._layout)
        if found is None:
            raise StackError(f"no stack has run on {self._layout.root}")
        return found

    def _process(self, name: str) -> ProcessState:
        processes = self._state().processes
        if name not in processes:
            raise StackError(f"{name}: no such process; there are {', '.join(processes)}")
        return processes[name]

    def _is_supervised_by(self, guard: subprocess.Popen[bytes]) -> bool:
        found = state.read(self._layout)
        return bool(found and found.guard == guard.pid and self._layout.is_locked())

    def _wait_until_ready(self, guard: subprocess.Popen[bytes]) -> None:
        def ready() -> bool:
            if guard.poll() is not None:
                said = logs.tail(self._layout.log("supervisor"), 40) if not self._output else ""
                raise StackError(f"the stack did not start (status {guard.returncode})\n{said}")
            found = state.read(self._layout)
            # A file of an earlier stack has another guard.
            return bool(found and found.guard == guard.pid and found.phase is Phase.READY)

        self._until(ready, START_SECONDS, f"the stack is not up after {START_SECONDS:.0f} s")

    def _until(self, condition: Callable[[], bool], seconds: float, complaint: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise StackError(complaint)
            time.sleep(PAUSE_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()


class Servers(Stack):
    """Postgres and Valkey alone, whatever DATABASE_URL and REDIS_URL say in this process."""

    def __init__(self, data_dir: Path | str) -> None:
        super().__init__(data_dir, "servers", {"DATABASE_URL": "", "REDIS_URL": ""})

    def superuser_url(self, database: str = "postgres") -> str:
        """For what the product's own role may not do: create and drop databases."""
        from embedded.servers import postgres
        from embedded.servers.ports import Ports

        port = Ports(self.layout.ports)["postgres"]
        return postgres.url(self.layout, port, postgres.SUPERUSER, database)
