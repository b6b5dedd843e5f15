from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from embedded.supervisor import guard, kernel

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")


@LINUX
def test_a_process_that_has_ended_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.pid in kernel.all_pids()
    assert not kernel.is_alive(child.pid)  # though its number is still there
    child.wait()
    assert not kernel.is_alive(child.pid)
    assert kernel.is_alive(os.getpid())
    assert not kernel.send(child.pid, signal.SIGTERM)


@LINUX
def test_a_mark_in_the_environment_is_found() -> None:
    mark = {"CYREX_TEST_MARK": "a b"}
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, **mark})
    try:
        time.sleep(0.05)  # until it is `sleep`, and no longer a copy of us
        assert kernel.marked("CYREX_TEST_MARK=a b") == [child.pid]
        assert kernel.marked("CYREX_TEST_MARK=a") == []
        assert kernel.executable(child.pid) == "sleep"
        assert str(kernel.working_folder(child.pid)) == os.getcwd()
    finally:
        child.kill()
        child.wait()


@LINUX
def test_leftovers_are_ended_however_stubborn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "GRACE_SECONDS", 0.3)
    # To them, every program is a server that may take its time.
    monkeypatch.setattr(guard, "ending_signal", lambda _pid: signal.SIGTERM)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    script = stubborn + "print(1, flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    guard.end_leftovers([child.pid])
    assert child.wait() == -signal.SIGKILL


@LINUX
def test_servers_are_asked_and_others_killed() -> None:
    child = subprocess.Popen(["sleep", "60"])
    time.sleep(0.05)
    assert guard.ending_signal(child.pid) == signal.SIGKILL
    assert guard.SERVERS == {"postgres": signal.SIGINT, "valkey-server": signal.SIGTERM}
    child.kill()
    child.wait()
