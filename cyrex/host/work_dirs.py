"""Work directories of steps: each is locked by one process and removed with it.

A step of another attempt has a folder of its own, so an owner that has lost its lease without
knowing it disturbs nobody. What must outlive a step goes to the blob store.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from settings import get_settings

log = structlog.get_logger()


@contextmanager
def work_dir(name: str) -> Iterator[Path]:
    """An empty folder, removed in the end; one whose owner was killed is removed by `sweep`."""
    folder = get_settings().work_dir.resolve() / name
    assert folder.name == name, f"{name!r} is a path: `sweep` would not see its lock"
    held = _hold_new(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def sweep() -> list[str]:
    """Remove the folders of processes that are no more; returns their names."""
    removed = []
    root = get_settings().work_dir.resolve()
    for folder in root.iterdir() if root.is_dir() else ():
        held = _hold(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)
            removed.append(folder.name)
    if removed:
        log.info("work_dirs_swept", names=removed)
    return removed


def _hold_new(folder: Path) -> int:
    """Make the folder and lock it; again if a sweep removed it in between."""
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        held = _hold(folder, fcntl.LOCK_EX)
        if held is None:
            continue
        if folder.exists() and os.path.samestat(os.fstat(held), folder.stat()):
            return held
        os.close(held)


def _hold(folder: Path, how: int) -> int | None:
    """A descriptor with the folder's lock, which ends with the process; None: it is locked."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
