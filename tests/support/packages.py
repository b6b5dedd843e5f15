"""Adapter packages that are good, small and useless: for tests that only carry them about."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
RANK, WIDTH = 2, 8
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": RANK,
    "lora_alpha": 4,
    "bias": "none",
    "target_modules": ["q_proj"],
    "modules_to_save": None,
}


def write_package(folder: Path, seed: int = 0, **config: Any) -> Path:
    """Fill `folder` with a package whose bytes depend on `seed`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    numbers = b""
    for side, shape in (("A", [RANK, WIDTH]), ("B", [WIDTH, RANK])):
        begin = len(numbers)
        numbers += struct.pack(f"<{RANK * WIDTH}f", *(float(seed),) * (RANK * WIDTH))
        header[f"{LAYER}.lora_{side}.weight"] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [begin, len(numbers)],
        }
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(
        struct.pack("<Q", len(text)) + text + numbers
    )
    (folder / "receipt.json").write_text("{}")
    return folder
