"""The specification of a process: plain data."""

from __future__ import annotations

import enum
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from embedded.supervisor.kernel import Identity

# Given the seconds since the process started: is it ready? Must answer within a few seconds.
Probe = Callable[[float], bool]


class Stage(enum.IntEnum):
    """Start in this order, stop in the reverse."""

    SERVER = 0
    SETUP = 1
    WORKER = 2
    EDGE = 3


# Later stages wait until these are ready; workers and edge come up side by side.
GATES = (Stage.SERVER, Stage.SETUP)


def stays_up(seconds: float) -> Probe:
    """For a process that tells nobody when it is ready: it has lived this long."""
    return lambda age: age >= seconds


@dataclass(frozen=True)
class ProcessSpec:
    """One process. `once`: it is to end with status 0, and then never runs again.

    `stop_signal` asks it to end within `grace_seconds`; `hurry_signal` is sent on the second
    Ctrl-C; `death_signal` is what the kernel sends it when the supervisor is killed.
    `prepare` runs in the supervisor before each start and may raise `OSError` or `RuntimeError`.
    `outlived_by` is a word of the command line of a child that may live on when the process dies,
    for the next one to take over, and sees to its own end if there is none.
    """

    name: str
    command: tuple[str, ...]
    stage: Stage
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Probe = field(default_factory=lambda: stays_up(1.0))
    prepare: Callable[[], None] = lambda: None
    once: bool = False
    start_seconds: float = 60.0
    grace_seconds: float = 10.0
    stop_signal: signal.Signals = signal.SIGTERM
    hurry_signal: signal.Signals = signal.SIGKILL
    death_signal: signal.Signals = signal.SIGKILL
    identity: Identity = Identity.SELF
    address: str = ""
    outlived_by: str = ""
