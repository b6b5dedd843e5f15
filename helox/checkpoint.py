"""Checkpoints from which a killed run goes on to the very bytes it would have reached.

    checkpoints/step-N/adapter_model.safetensors   with adapter_config.json: servable as it is
                       adapter_config.json
                       optimizer.safetensors       its tensors; its numbers are in state.json
                       rng.safetensors
                       best_adapter.safetensors    weights of the best epoch so far, if any ended
                       state.json                  counters, fingerprint, SHA-256 of the others

The order of the examples is a function of seed and epoch, and the learning rate one of the step,
so the position of the loader and the scheduler are the step itself. No pickle is written or read.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from helox.base import sha256_of_file
from helox.checkpoint_files import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILE,
    BEST_FILE,
    FORMAT,
    OPTIMIZER_FILE,
    RNG_FILE,
    STATE_FILE,
    folder_of,
    intact_state,
    newest_first,
)
from helox.errors import UserError
from helox.files import publish_directory, write_json
from helox.model import Learner

AdapterState = dict[str, torch.Tensor]  # weights by their name in an adapter file

TENSOR = "tensor"
CHECKPOINTS_KEPT = 2  # the newest, and one more in case the disk damaged it


@dataclass
class Counters:
    """How far a run is. The loader's position is `step` modulo the steps of an epoch."""

    step: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    epoch_loss_sum: float = 0.0
    epoch_loss_tokens: int = 0
    micro_batch: int = 0  # examples a forward pass; halved when memory ran out
    # The hold-out figures before the first step: of the base model, or of the adapter gone on from.
    before: dict[str, float] | None = None
    epochs: list[dict[str, float]] = field(default_factory=list)  # figures of each one finished

    def metrics(self, best_epoch: int) -> dict[str, Any]:
        """The receipt's figures, of the published epoch; None where there is no hold-out."""
        best = self.epochs[best_epoch - 1]
        return {
            "train_loss": best["loss"],
            "holdout_loss": best.get("holdout_loss"),
            "holdout_token_accuracy": best.get("holdout_token_accuracy"),
            "holdout_exact": best.get("holdout_exact"),
            "best_epoch": best_epoch,
            "before": self.before,
            "epochs": self.epochs,
            "steps": self.step,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
        }


def save_checkpoint(
    directory: Path,
    fingerprint: str,
    counters: Counters,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    adapter_config: dict[str, Any],
    best: AdapterState | None = None,
) -> Path:
    """Writes `directory`/step-N whole or not at all, and drops the oldest."""
    target = folder_of(directory, counters.step)
    partial = directory / f"{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors: dict[str, torch.Tensor] = {}
    numbers = split_tensors(optimizer.state_dict(), "optimizer", tensors)
    save_file(learner.adapter_state(), partial / ADAPTER_FILE, metadata={"format": "pt"})
    save_file(tensors, partial / OPTIMIZER_FILE)
    save_file(_rng_state(learner.device), partial / RNG_FILE)
    if best is not None:
        save_file(best, partial / BEST_FILE, metadata={"format": "pt"})
    write_json(partial / ADAPTER_CONFIG_FILE, adapter_config)
    state = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "counters": asdict(counters),
        "optimizer_type": type(optimizer).__name__,
        "optimizer": numbers,
        "files": {f.name: sha256_of_file(f) for f in sorted(partial.iterdir())},
    }
    write_json(partial / STATE_FILE, state)
    shutil.rmtree(target, ignore_errors=True)
    publish_directory(partial, target)
    for _, old in newest_first(directory)[CHECKPOINTS_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def find_checkpoint(
    directory: Path, resume: bool | Path, fingerprint: str, optimizer: torch.optim.Optimizer
) -> Path | None:
    """The checkpoint to go on from, if any.

    One that was made on a GPU is of no use to a CPU, nor the other way round: each has an
    optimiser of its own, which reads no other's numbers.

    Raises:
        UserError: a checkpoint was named, but is damaged or belongs to another run.
    """
    if isinstance(resume, Path):
        state = intact_state(resume)
        if state is None:
            raise UserError("bad_checkpoint", f"{resume.name} is not whole", field="resume")
        if not _is_of(state, fingerprint, optimizer):
            raise UserError(
                "foreign_checkpoint",
                f"{resume.name} is of a run with other data, base model or configuration, or of "
                "another kind of device",
                field="resume",
            )
        return resume
    for _, candidate in newest_first(directory) if resume else []:
        state = intact_state(candidate)
        if state is not None and _is_of(state, fingerprint, optimizer):
            return candidate
    return None


def _is_of(state: dict[str, Any], fingerprint: str, optimizer: torch.optim.Optimizer) -> bool:
    kind = type(optimizer).__name__
    return bool(state["fingerprint"] == fingerprint and state.get("optimizer_type", kind) == kind)


def clear_checkpoints(directory: Path) -> None:
    """Removes what no run will go on from."""
    shutil.rmtree(directory, ignore_errors=True)


def load_best(path: Path) -> AdapterState | None:
    """The weights of the best epoch when the checkpoint was made; None before the first ended."""
    return load_file(path / BEST_FILE) if (path / BEST_FILE).is_file() else None


def load_checkpoint(path: Path, learner: Learner, optimizer: torch.optim.Optimizer) -> Counters:
    """Puts weights, optimiser and random numbers back where they were."""
    state = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
    learner.load_adapter_state(load_file(path / ADAPTER_FILE))
    tensors = load_file(path / OPTIMIZER_FILE)
    optimizer.load_state_dict(join_tensors(state["optimizer"], tensors))
    rng = load_file(path / RNG_FILE)
    torch.set_rng_state(rng["cpu"])
    if "cuda" in rng and learner.device.type == "cuda":
        torch.cuda.set_rng_state(rng["cuda"], learner.device)
    return Counters(**state["counters"])


def _rng_state(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def split_tensors(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """`value` as JSON; its tensors go to `tensors`, leaving {"tensor": name} in their places."""
    if isinstance(value, torch.Tensor):
        # A copy each: 8-bit optimisers share one table between parameters.
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {TENSOR: path}
    if isinstance(value, dict):
        return {key: split_tensors(item, f"{path}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [split_tensors(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
    return value


def join_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The inverse of `split_tensors`; JSON made the whole-number keys text."""
    if isinstance(value, dict):
        if set(value) == {TENSOR}:
            return tensors[value[TENSOR]]
        return {
            int(key) if key.isdigit() else key: join_tensors(item, tensors)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [join_tensors(item, tensors) for item in value]
    return value
