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

from embedded.supervisor import forward, kernel

# The servers are asked, and may take GRACE_SECONDS; everything else is killed at once.
SERVERS = {
    "postgres": signal.SIGINT,
    "valkey-server": signal.SIGTERM,
}
# The end of a terminal is a request to stop like any other.
PASSED_ON = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGTERM,
}
GRACE_SECONDS = 5.0
PAUSE_SECONDS = 0.02


def ending_signal(pid: int) -> signal.Signals:
    """The signal that ends a process of a stack without a supervisor."""
    return SERVERS.get(kernel.executable(pid), signal.SIGKILL)


def watch(arguments: Sequence[str]) -> int:
    """Run `python -m embedded supervise ARGUMENTS` to its end. Returns its exit status."""
    kernel.adopt_orphans()
    command = [sys.executable, "-m", "embedded", "supervise", *arguments]
    setup = kernel.child_setup(signal.SIGTERM)
    try:
        return forward.run(
            lambda: subprocess.Popen(command, start_new_session=True, preexec_fn=setup), PASSED_ON
        )
    finally:
        _end_tree()


def _end_tree() -> None:
    """End what the supervisor left: nothing, unless it was killed."""
    deadline = time.monotonic() + GRACE_SECONDS
    patient = True
    while kernel.kill_strangers(_nobody, ending_signal if patient else _kill):
        patient = time.monotonic() < deadline
        time.sleep(PAUSE_SECONDS)
        while (pid := kernel.ended_child()) is not None:
            os.waitpid(pid, 0)


def _nobody(_pid: int) -> bool:
    return False


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
