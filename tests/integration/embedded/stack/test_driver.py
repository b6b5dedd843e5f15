"""A stack driven from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from embedded.supervisor import kernel
from tests.support.stacks import left, wait_for

GONE_SECONDS = 10.0


def programs(folder: Path) -> list[str]:
    """What runs beside Postgres and its children."""
    return [name for name in map(kernel.executable, left(folder)) if name != "postgres"]


CALLER = """
import sys, time
from embedded import Servers
servers = Servers(sys.argv[1]).start()
print("up", flush=True)
time.sleep(1000)
"""


def test_a_stack_ends_with_its_caller(tmp_path: Path) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == "up\n"
    assert programs(tmp_path) == ["valkey-server"]
    caller.kill()
    caller.wait()
    assert wait_for(lambda: not left(tmp_path), GONE_SECONDS)
