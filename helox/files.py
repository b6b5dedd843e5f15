"""Files that are whole or not there, whatever kills the process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

READABLE = 0o644


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Replaces `path` in one step; `durable` also waits for the disk."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")
        if durable:
            file.flush()
            os.fsync(file.fileno())
    partial.replace(path)


def publish_directory(partial: Path, target: Path) -> None:
    """Makes a finished directory appear under its name, after its bytes are on the disk."""
    for file in partial.iterdir():
        file.chmod(READABLE)  # safetensors writes for its owner alone
        _sync(file)
    _sync(partial)
    partial.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
