"""What other threads put before the engine's loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from cyrex.engine.row import Row


@dataclass(frozen=True, slots=True)
class Job:
    """Something to run on the loop's thread, between two steps."""

    work: Callable[[], Any]
    future: Future[Any]

    def run(self) -> None:
        try:
            self.future.set_result(self.work())
        except Exception as error:
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class CancelledRow:
    """The sender of this row does not want it any more."""

    row: Row


@dataclass(frozen=True, slots=True)
class Close:
    """Finish what is under way until `deadline` (`time.monotonic()`), then stop."""

    deadline: float


# A row is a new request; None just wakes the loop: an adapter has been loaded.
Item = Row | Job | CancelledRow | Close | None
