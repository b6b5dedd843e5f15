"""A log file a process, kept small."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from embedded.layout import PRIVATE_FILE

LIMIT_BYTES = 32 * 1024 * 1024
TAIL_BYTES = 8192


def start(path: Path) -> None:
    """Begin a new file; the last run's is kept as `NAME.log.1`."""
    if path.exists() and path.stat().st_size:
        path.replace(_previous(path))


def append_to(path: Path) -> int:
    """A descriptor for a process's output. Appending, so that `limit` can cut the file."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE_FILE)


def limit(path: Path, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Move what has been written to `NAME.log.1` when it is too much; the process writes on.

    Raises `OSError` when there is no room for the copy; then nothing has been cut.
    """
    if not path.exists() or path.stat().st_size <= limit_bytes:
        return False
    try:
        shutil.copyfile(path, _previous(path))
    except OSError:
        _previous(path).unlink(missing_ok=True)
        raise
    os.truncate(path, 0)
    return True


def tail(path: Path, lines: int = 12) -> str:
    """The last lines, indented, for a message."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        shown = file.read().decode(errors="replace").splitlines()[-lines:]
    return "".join(f"    {line}\n" for line in shown)


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")
