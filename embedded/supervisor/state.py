"""The state of a running stack: one JSON file, replaced at every change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from embedded.layout import Layout, write_private


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Status(StrEnum):
    """The status of one process."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    # Died, and will be started again.
    DOWN = "down"
    # A step that has been taken.
    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True)
class ProcessState:
    """`pid` is None while it does not run; `restarts` counts starts after the first."""

    status: Status
    pid: int | None = None
    restarts: int = 0
    address: str = ""


@dataclass(frozen=True)
class StackState:
    """`guard` and `supervisor` are pids."""

    guard: int
    supervisor: int
    phase: Phase
    processes: Mapping[str, ProcessState] = field(default_factory=dict)

    def write(self, layout: Layout) -> None:
        write_private(layout.state, json.dumps(asdict(self), indent=2) + "\n")


def read(layout: Layout) -> StackState | None:
    """The last state written; None when there has been none, or a lost power emptied it."""
    try:
        content = json.loads(layout.state.read_text())
    except (FileNotFoundError, ValueError):
        return None
    processes = {
        name: ProcessState(Status(value.pop("status")), **value)
        for name, value in content.pop("processes").items()
    }
    return StackState(
        guard=content["guard"],
        supervisor=content["supervisor"],
        phase=Phase(content["phase"]),
        processes=processes,
    )
