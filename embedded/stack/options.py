"""Options of a stack. Light: the guard stays in memory for as long as the stack runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_DATA_DIR = ".data"
DEFAULT_TABLE = "embedded.stack.processes:table"
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """`processes`: `all`, `servers`, or names separated by commas. `table`: `module:function`."""

    data_dir: Path
    processes: str = "all"
    table: str = DEFAULT_TABLE
    fresh: bool = False
    until_stdin_closes: bool = False


def with_packages(python_path: str | None) -> str:
    """A PYTHONPATH on which every process finds the packages, installed or not."""
    return ":".join(dict.fromkeys([str(REPOSITORY), *filter(None, (python_path or "").split(":"))]))
