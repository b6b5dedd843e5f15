"""What was asked for and what the stack promised: the audit's side of the account, a file."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One piece of work as the stack took it.

    `reference` is the id that the stack gave or was given; `at` when its last copy was sent;
    `copies` how often. `answer`: of a cancelled job, what the cancel was answered.
    """

    kind: str
    company: str
    marker: str
    reference: str
    at: float
    copies: int = 1
    answer: str = ""


class Ledger:
    """Append-only lines of JSON. Safe for threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        self._lock = threading.Lock()

    def write(self, entry: Any) -> None:
        with self._lock:
            self._file.write(json.dumps(asdict(entry)) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[Asked]:
    return [Asked(**json.loads(line)) for line in path.read_text().splitlines()]
