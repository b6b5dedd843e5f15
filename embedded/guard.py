"""The outermost process: starts the supervisor, and outlives it just to leave nothing behind.

The supervisor adopts the orphans of its processes and this one adopts the supervisor's, so that
whichever of the two is killed, the other ends the whole tree. The supervisor has a session of its
own: what is sent to a terminal's process group reaches it only through here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from embedded import kernel

# How long the servers may take to write what they hold; everything else is killed at once.
SERVERS = {
    "postgres": signal.SIGINT,
    "valkey-server": signal.SIGTERM,
}
GRACE_SECONDS = 5.0
PAUSE_SECONDS = 0.02


def ending_signal(pid: int) -> signal.Signals:
    """What ends a process of a stack without a supervisor."""
    return SERVERS.get(kernel.executable(pid), signal.SIGKILL)


def watch(arguments: Sequence[str]) -> int:
    """Run `python -m embedded supervise ARGUMENTS` to its end. Returns its exit status."""
    kernel.adopt_orphans()
    supervisor: subprocess.Popen[bytes] | None = None
    early: list[signal.Signals] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        # The end of a terminal is a request to stop like any other.
        passed = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        if supervisor is None:
            early.append(passed)
        else:
            kernel.send(supervisor.pid, passed)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, background jobs
            signal.signal(number, forward)
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "embedded", "supervise", *arguments],
        start_new_session=True,
        preexec_fn=kernel.child_setup(signal.SIGTERM),
    )
    for passed in early:
        kernel.send(supervisor.pid, passed)
    try:
        status = supervisor.wait()
    finally:
        _end_tree()
    return status if status >= 0 else 128 - status


def _end_tree() -> None:
    """End what the supervisor left: nothing, unless it was killed."""
    deadline = time.monotonic() + GRACE_SECONDS
    patient = True
    while kernel.kill_strangers((), ending_signal if patient else _kill):
        patient = time.monotonic() < deadline
        time.sleep(PAUSE_SECONDS)
        while (pid := kernel.ended_child()) is not None:
            os.waitpid(pid, 0)


def _kill(_pid: int) -> signal.Signals:
    return signal.SIGKILL


def end_leftovers(pids: Sequence[int]) -> None:
    """End processes that are not our children, as above: those of a stack that was killed."""
    deadline = time.monotonic() + GRACE_SECONDS
    for pid in pids:
        kernel.send(pid, ending_signal(pid))
    while left := [pid for pid in pids if kernel.is_alive(pid)]:
        if time.monotonic() > deadline:
            for pid in left:
                kernel.send(pid, signal.SIGKILL)
        time.sleep(PAUSE_SECONDS)
