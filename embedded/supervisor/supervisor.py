"""The supervisor: starts the processes in order, keeps them running, stops them in reverse.

One thread and one loop: the death signal that each process carries is tied to the thread that
started it. Processes of a stack that was killed are ended before anything starts.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import TextIO

from embedded.layout import Layout
from embedded.supervisor import kernel, logs
from embedded.supervisor.process import SupervisedProcess
from embedded.supervisor.spec import GATES, ProcessSpec, Stage
from embedded.supervisor.state import Phase, StackState, Status

# Processes of one stack carry this variable, with its data folder as the value.
MARKER = "CYREX_STACK"
TICK_SECONDS = 0.05
IDLE_SECONDS = 1.0
LOG_CHECK_SECONDS = 30.0
# Deaths before the first readiness that end the start.
START_ATTEMPTS = 4
HURRY_SECONDS = 3.0
SWEEP_SECONDS = 5.0
SWEEP_PAUSE_SECONDS = 0.01


class ProcessDidNotStart(RuntimeError):
    """A process did not come up; the message holds the end of its log."""


class Supervisor:
    """Runs processes until a signal, or until `lifeline` (a pipe's descriptor) is closed.

    `environment` is laid over this process's own.
    """

    def __init__(
        self,
        layout: Layout,
        specs: Iterable[ProcessSpec],
        environment: Mapping[str, str],
        lifeline: int | None = None,
    ) -> None:
        self._layout = layout
        variables = {**os.environ, **environment, MARKER: str(layout.root)}
        self._processes = [
            SupervisedProcess(spec, layout.log(spec.name), variables) for spec in specs
        ]
        self._phase = Phase.STARTING
        self._written: StackState | None = None
        self._complaint = ""
        self._must_stop = False
        self._in_a_hurry = False
        self._logs_checked = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._lifeline = lifeline

    def run(self, announce: Callable[[], None]) -> int:
        """Returns the exit status: 0 after a stop that was asked for, 1 after a failed start."""
        kernel.adopt_orphans()
        self._listen()
        failed = False
        try:
            self._start_all()
            if not self._must_stop:
                self._phase = Phase.READY
                self._write_state()
                announce()
            while not self._must_stop:
                self._tick(IDLE_SECONDS)
        except ProcessDidNotStart as error:
            failed = True
            say(f"FAILED: {error}")
        finally:
            self._stop_all()
        return int(failed)

    def _listen(self) -> None:
        """Let signals, ended children and the lifeline wake the loop."""
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._selector.register(reader, selectors.EVENT_READ)
        if self._lifeline is not None:
            self._selector.register(self._lifeline, selectors.EVENT_READ)

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        if self._must_stop and number == signal.SIGINT:
            self._in_a_hurry = True
        self._must_stop = True

    def _wait(self, seconds: float) -> None:
        for key, _events in self._selector.select(seconds):
            if not os.read(key.fd, 512):
                self._selector.unregister(key.fd)
                self._must_stop = True

    # --- up

    def _start_all(self) -> None:
        for process in self._processes:
            logs.start(process.log)
        self._write_state()
        for stage in Stage:
            members = [process for process in self._processes if process.spec.stage == stage]
            # Set-up steps follow one another; what shares another stage starts side by side.
            groups = [[member] for member in members] if stage == Stage.SETUP else [members]
            for group in groups:
                for process in group:
                    if not self._must_stop:
                        self._start(process)
                if stage in GATES:
                    self._until_ready(group)
        self._until_ready(self._processes)

    def _until_ready(self, group: Iterable[SupervisedProcess]) -> None:
        while not self._must_stop and not all(process.was_ready for process in group):
            self._tick(TICK_SECONDS)
            for process in self._processes:
                self._give_up_on(process)

    def _give_up_on(self, process: SupervisedProcess) -> None:
        """During the start, a process that cannot come up ends it."""
        if process.was_ready:
            return
        reason = ""
        if process.is_late():
            reason = f"is not ready after {process.spec.start_seconds:.0f} s"
        elif process.status is Status.DOWN and process.failures >= START_ATTEMPTS:
            reason = f"does not start ({process.how_it_ended})"
        if reason:
            raise ProcessDidNotStart(
                f"{process.spec.name} {reason}; the end of {process.log}:\n{logs.tail(process.log)}"
            )

    def _start(self, process: SupervisedProcess) -> None:
        try:
            process.start()
        except (OSError, RuntimeError) as error:
            if not process.was_ready:
                raise ProcessDidNotStart(f"{process.spec.name}: {error}") from error
            process.failed_to_start(error)

    # --- running

    def _tick(self, idle_seconds: float) -> None:
        """Collect what ended, start what is due, probe what is starting; then wait a little."""
        self._collect()
        for process in self._processes:
            if process.is_due():
                self._start(process)
            elif process.is_late() and process.was_ready:
                process.send(signal.SIGKILL)
            if process.check():
                what = "ready" if process.starts == 1 else "ready again"
                say(f"{process.spec.name:<10} {what:<12} {process.age:5.1f} s")
        self._write_state()
        if time.monotonic() - self._logs_checked > LOG_CHECK_SECONDS:
            self._logs_checked = time.monotonic()
            self._limit_logs()
        busy = any(process.status in (Status.STARTING, Status.DOWN) for process in self._processes)
        self._wait(TICK_SECONDS if busy else idle_seconds)

    def _limit_logs(self) -> None:
        for process in self._processes:
            try:
                logs.limit(process.log)
            except OSError as error:
                self._complain(error)

    def _collect(self) -> None:
        """Note which processes ended, and end what they leave behind."""
        died = False
        running = {process.pid: process for process in self._processes}
        while (pid := kernel.ended_child()) is not None:
            if pid not in running:
                os.waitpid(pid, 0)
                continue
            process = running[pid]
            process.ended(stopping=self._phase is Phase.STOPPING)
            died = True
            if process.status is Status.DONE:
                say(f"{process.spec.name:<10} {'done':<12} {process.age:5.1f} s")
            elif process.status is Status.DOWN:
                say(f"{process.spec.name:<10} {process.how_it_ended}: starting it again")
        if died:
            self._sweep()

    def _sweep(self) -> None:
        """Kill adopted orphans: the children of a process that died, and theirs.

        While the stack runs, those that its successor is to take over are left.
        """
        pids = {process.pid for process in self._processes}
        words = {process.spec.outlived_by for process in self._processes} - {""}
        if self._phase is Phase.STOPPING:
            words = set()

        def is_known(pid: int) -> bool:
            return pid in pids or not words.isdisjoint(kernel.command_line(pid))

        deadline = time.monotonic() + SWEEP_SECONDS
        while kernel.kill_strangers(is_known, lambda _pid: signal.SIGKILL):
            if time.monotonic() > deadline:
                say("some children of a process that died cannot be killed")
                return
            time.sleep(SWEEP_PAUSE_SECONDS)

    def _write_state(self) -> None:
        state = StackState(
            guard=os.getppid(),
            supervisor=os.getpid(),
            phase=self._phase,
            processes={process.spec.name: process.state for process in self._processes},
        )
        if state == self._written:
            return
        try:
            state.write(self._layout)
        except OSError as error:
            # A full disk ends no stack: what it runs goes on, and is written once there is room.
            self._complain(error)
            return
        self._written, self._complaint = state, ""

    def _complain(self, error: OSError) -> None:
        """Say once what cannot be written."""
        complaint = f"{error.filename or self._layout.root}: {error.strerror}"
        if complaint != self._complaint:
            self._complaint = complaint
            say(complaint)

    # --- down

    def _stop_all(self) -> None:
        self._must_stop = True
        self._phase = Phase.STOPPING
        began = time.monotonic()
        for stage in reversed(Stage):
            members = [process for process in self._processes if process.spec.stage == stage]
            self._stop(members[::-1])
        self._write_state()
        say(f"stopped {time.monotonic() - began:.1f} s")

    def _stop(self, group: list[SupervisedProcess]) -> None:
        """Ask, wait each one's grace, then kill. A further Ctrl-C shortens the wait."""
        for process in group:
            process.send(process.spec.stop_signal)
        began, hurried_at = time.monotonic(), 0.0
        while any(process.pid is not None for process in group):
            self._write_state()
            self._wait(TICK_SECONDS)
            self._collect()
            now = time.monotonic()
            if self._in_a_hurry and not hurried_at:
                hurried_at = now
                for process in group:
                    process.send(process.spec.hurry_signal)
            for process in group:
                grace = process.spec.grace_seconds
                if now > began + grace or (hurried_at and now > hurried_at + HURRY_SECONDS):
                    process.send(signal.SIGKILL)


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line, and go on when nobody reads any more."""
    with contextlib.suppress(OSError):
        print(line, file=stream or sys.stdout, flush=True)
