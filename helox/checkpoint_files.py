"""A checkpoint as files, for whoever finds, checks or carries one: nothing here needs torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helox.base import sha256_of_file

FORMAT = 1
CHECKPOINTS_DIR = "checkpoints"  # in the run's work_dir
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG_FILE = "adapter_config.json"
OPTIMIZER_FILE = "optimizer.safetensors"
RNG_FILE = "rng.safetensors"
BEST_FILE = "best_adapter.safetensors"  # of the best epoch, where that is an earlier one
RECEIPT_FILE = "receipt.json"  # beside a published adapter
STATE_FILE = "state.json"
PREFIX = "step-"


def folder_of(directory: Path, step: int) -> Path:
    """Where the checkpoint after `step` optimiser steps lies."""
    return directory / f"{PREFIX}{step}"


def newest_first(directory: Path) -> list[tuple[int, Path]]:
    """(step, folder) of each checkpoint that was published in `directory`."""
    if not directory.is_dir():
        return []
    found = {
        int(path.name.removeprefix(PREFIX)): path
        for path in directory.iterdir()
        if path.name.removeprefix(PREFIX).isdigit()
    }
    return sorted(found.items(), reverse=True)


def intact_state(path: Path) -> dict[str, Any] | None:
    """The state of a checkpoint whose every file is as it was written, else None."""
    try:
        state: dict[str, Any] = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            return None
        whole = all(sha256_of_file(path / n) == sha for n, sha in state["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return state if whole and set(state["files"]) >= {ADAPTER_FILE, OPTIMIZER_FILE} else None
