"""Small adapters as files, for two linear layers that no model is needed for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cyrex.engine import AdapterRef
from cyrex.engine.adapter_file import Place

PLACES = {"up": Place(0, 12, 20), "down": Place(1, 20, 12)}


def tensors_of(rank: int, seed: int, modules: tuple[str, ...] = tuple(PLACES)) -> dict[str, Any]:
    torch.manual_seed(seed)
    tensors = {}
    for name in modules:
        place = PLACES[name]
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, place.inputs)
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(place.outputs, rank)
    return tensors


def write(
    folder: Path,
    rank: int = 4,
    seed: int = 0,
    modules: tuple[str, ...] = ("up", "down"),
    **raw: Any,
) -> AdapterRef:
    folder.mkdir(parents=True)
    save_file(tensors_of(rank, seed, modules), folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none", **raw}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return ref(folder)


def ref(folder: Path, company: str = "acme") -> AdapterRef:
    sha256 = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    return AdapterRef(company, folder.name, sha256, str(folder), sha256)
