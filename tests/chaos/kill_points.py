"""Places between two acts where a process kills itself, once for each token that is armed there.

The product knows nothing of this: the processes of the chaos stack load `armed_worker` or
`armed_web`, which wrap the functions at these places. A token is a file; whoever renames it first
dies.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "CHAOS_KILL_POINTS"

# Name: what has happened and what has not.
POINTS = {
    "brpop_start": "the broker's message is taken, no bookkeeping of it made",
    "start_claim": "the task has started, its row is not claimed",
    "answer_row": "the engine has answered, no row says so",
    "tool_row": "the tool has answered, no row says so",
    "commit_publish": "rows are committed, the broker has not heard of them",
    "commit_xack": "an event has had its effect, its entry is not acknowledged",
    "xadd_commit": "the stream has the outbox's events, the outbox does not know it",
    "package_row": "an adapter is written to the blob store, no row names it",
    "registry_row": "the registry has the adapter's version, its row does not know it",
    "web_handover": "a request's rows are committed, nobody was told and nothing was answered",
}
WEB = "web_handover"


@dataclass(frozen=True)
class Fired:
    """A process killed itself at `point`. `worker_id` is None where it was no worker."""

    point: str
    at: float
    pid: int
    worker_id: str | None


def arm(folder: Path, point: str) -> None:
    """The next process that comes to `point` dies there."""
    assert point in POINTS, point
    armed = folder / "armed"
    armed.mkdir(parents=True, exist_ok=True)
    (folder / "fired").mkdir(exist_ok=True)
    (armed / point).touch()


def disarm(folder: Path) -> list[str]:
    """Take back the tokens that nobody has met; returns their points."""
    left = sorted(path.name for path in (folder / "armed").glob("*"))
    for name in left:
        (folder / "armed" / name).unlink(missing_ok=True)
    return left


def fired(folder: Path) -> list[Fired]:
    """Who has died where, in order."""
    found = []
    for path in (folder / "fired").glob("*.*"):
        text = path.read_text()
        if text:
            found.append(Fired(point=path.name.partition(".")[0], **json.loads(text)))
    return sorted(found, key=lambda each: each.at)


def strike(point: str) -> None:
    """Die here if a token is armed. Costs one failing rename otherwise."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    mine = Path(folder, "fired", f"{point}.{time.time_ns()}")
    try:
        os.rename(Path(folder, "armed", point), mine)
    except OSError:
        return
    mine.write_text(json.dumps({"at": time.time(), "pid": os.getpid(), "worker_id": _worker_id()}))
    os.kill(os.getpid(), signal.SIGKILL)


def _worker_id() -> str | None:
    from tasks.workers import presence as worker

    return worker._presence.worker_id if worker._presence is not None else None


def before(point: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which dies at `point` instead of beginning."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        strike(point)
        return function(*args, **kwargs)

    return wrapped


def after(point: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which dies at `point` when it has done all but return."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        strike(point)
        return result

    return wrapped
