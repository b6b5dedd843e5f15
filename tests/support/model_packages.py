"""Small adapter packages, written without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 2,
    "lora_alpha": 4,
    "bias": "none",
    "target_modules": ["q_proj"],
    "modules_to_save": None,
    "use_dora": False,
}


Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


def safetensors_bytes(tensors: dict[str, list[int]], seed: int = 0) -> bytes:
    """A valid file of fp32 tensors whose bytes depend on `seed`."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    buffer = b""
    for name, shape in tensors.items():
        count = 1
        for side in shape:
            count *= side
        begin = len(buffer)
        buffer += struct.pack(f"<{count}f", *(float(seed + i) for i in range(count)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(buffer)]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + buffer


def write_package(folder: Path, seed: int = 0, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    pair = {f"{Q_PROJ}.lora_A.weight": [2, 8], f"{Q_PROJ}.lora_B.weight": [8, 2]}
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(pair, seed))
    (folder / "receipt.json").write_text('{"seed": 1}')
    return folder
