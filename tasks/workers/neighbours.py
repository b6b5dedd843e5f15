"""Processes of this machine: the death of a neighbour is seen at once, and is no guess.

A heartbeat that has stopped tells of a death after seconds, and of a slow database as well. Who
shares the machine with the dead needs no heartbeat: the kernel knows who lives.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

PROC = Path("/proc")
# Indices of the words after the name in `/proc/PID/stat`: the state and the start time.
STATE, STARTED = 0, 19
ENDED = ("Z", "X", "x")


@lru_cache(maxsize=1)
def host_scope() -> str | None:
    """The scope in which a pid means the same process to everybody. None: not known here.

    That is this start of this machine, in this namespace of processes, for this user: another user
    may not see our processes.
    """
    try:
        started = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{started} {os.readlink(PROC / 'self/ns/pid')} {os.getuid()}"
    except OSError:
        return None


def start_ticks(pid: int) -> int | None:
    """When a process of this machine was started, in ticks since the machine was: with its number
    that names it for good. None: there is none, or it has ended."""
    try:
        # The name, in brackets, may hold anything.
        words = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if words[STATE] in ENDED else int(words[STARTED])
