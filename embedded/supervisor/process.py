"""One process under the supervisor: start it, watch it come up, note how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from embedded.supervisor import kernel, logs
from embedded.supervisor.spec import ProcessSpec
from embedded.supervisor.state import ProcessState, Status

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 10.0
# Having lived this long, it starts again at once: what killed it was no error of its start.
STEADY_SECONDS = 30.0


class SupervisedProcess:
    """The life of one `ProcessSpec`: waiting → starting → ready (or done) → down → starting …"""

    def __init__(self, spec: ProcessSpec, log: Path, environment: Mapping[str, str]) -> None:
        self.spec = spec
        self.log = log
        self.status = Status.WAITING
        self.starts = 0
        self.was_ready = False
        self.failures = 0
        self.how_it_ended = ""
        self._environment = {**environment, **spec.environment}
        self._popen: subprocess.Popen[bytes] | None = None
        self._since = 0.0
        self._retry_at = 0.0

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    @property
    def state(self) -> ProcessState:
        restarts = max(0, self.starts - 1)
        return ProcessState(self.status, self.pid, restarts, self.spec.address)

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._since

    def start(self) -> None:
        """Raises `OSError` and `RuntimeError` when it cannot be started at all."""
        self.starts += 1
        self._since = time.monotonic()
        self.status = Status.STARTING
        self.spec.prepare()
        output = logs.append_to(self.log)
        try:
            with contextlib.suppress(OSError):  # a full disk
                os.write(output, f"--- {time.strftime('%F %T')} start {self.starts}\n".encode())
            self._popen = subprocess.Popen(
                self.spec.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=kernel.child_setup(self.spec.death_signal, self.spec.identity),
            )
        finally:
            os.close(output)

    def is_due(self) -> bool:
        return self.status is Status.DOWN and time.monotonic() >= self._retry_at

    def check(self) -> bool:
        """Probe it if it is starting. True: it has just become ready."""
        if self.status is not Status.STARTING or self._popen is None or self.spec.once:
            return False
        if not self.spec.ready(self.age):
            return False
        self.status = Status.READY
        self.was_ready = True
        return True

    def is_late(self) -> bool:
        return self.status is Status.STARTING and self.age > self.spec.start_seconds

    def ended(self, stopping: bool) -> None:
        """Collect its exit status. Unless the stack is stopping, it will be started again."""
        assert self._popen is not None
        code = self._popen.wait()
        self._popen = None
        self.how_it_ended = _describe(code)
        if self.spec.once and code == 0:
            self.status = Status.DONE
            self.was_ready = True
        elif stopping:
            self.status = Status.STOPPED
        else:
            self._set_back()

    def failed_to_start(self, reason: Exception) -> None:
        self.how_it_ended = str(reason)
        self._set_back()

    def send(self, number: signal.Signals) -> None:
        if self._popen is not None:
            kernel.send(self._popen.pid, number)

    def _set_back(self) -> None:
        if self.age > STEADY_SECONDS:
            self.failures = 0
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**self.failures)
        self.failures += 1
        self.status = Status.DOWN
        self._retry_at = time.monotonic() + delay


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
