"""The kernel's word on who lives."""

from __future__ import annotations

import os
import signal
import subprocess

from tasks.workers.neighbours import host_scope, start_ticks


def test_a_process_is_named_by_its_number_and_its_birth() -> None:
    assert host_scope() is not None
    mine = start_ticks(os.getpid())
    assert mine is not None
    process = subprocess.Popen(["sleep", "60"])
    try:
        since = start_ticks(process.pid)
        assert since is not None
        assert since >= mine
    finally:
        process.kill()
    # It has ended, and nobody has asked yet how.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_ticks(process.pid) is None
    process.wait()
    assert start_ticks(process.pid) is None


def test_a_stopped_process_lives() -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert start_ticks(process.pid) is not None
    finally:
        process.kill()
        process.wait()
