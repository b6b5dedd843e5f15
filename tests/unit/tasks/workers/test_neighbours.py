"""The kernel's word on who lives."""

from __future__ import annotations

import os
import signal
import subprocess

from tasks.workers.neighbours import born, home


def test_a_process_is_named_by_its_number_and_its_birth() -> None:
    assert home() is not None
    mine = born(os.getpid())
    assert mine is not None
    process = subprocess.Popen(["sleep", "60"])
    try:
        since = born(process.pid)
        assert since is not None
        assert since >= mine
    finally:
        process.kill()
    # It has ended, and nobody has asked yet how.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert born(process.pid) is None
    process.wait()
    assert born(process.pid) is None


def test_a_stopped_process_lives() -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert born(process.pid) is not None
    finally:
        process.kill()
        process.wait()
