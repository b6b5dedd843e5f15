"""receipt.json: what an adapter was made from, so that it can be explained or made again."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import helox
from helox.base import Base, sha256_of_json
from helox.data import Dataset
from helox.spec import Amounts, TrainingSpec

RECEIPT_FILE = "receipt.json"
RECEIPT_FORMAT = 1
LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "bitsandbytes")


def fingerprint_of(spec: TrainingSpec, base: Base, data: Dataset) -> str:
    """Equal for two runs that must end in equal bytes. Knows no paths: a run may move."""
    return sha256_of_json(
        {
            "helox": helox.__version__,
            "base": base.sha256,
            "data": data.sha256,
            "config": spec.config.model_dump(),
            "use_qlora": spec.use_qlora,
            "seed": spec.seed,
            "threads": spec.threads,
        }
    )


def source_sha256() -> str:
    """Of the trainer's own code: every module, by name."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def make_receipt(
    spec: TrainingSpec,
    base: Base,
    data: Dataset,
    *,
    adapter_sha256: str,
    precision: str,
    learning_rate: float,
    amounts: Amounts,
    metrics: dict[str, Any],
    device: str,
) -> dict[str, Any]:
    return {
        "format": RECEIPT_FORMAT,
        "fingerprint": fingerprint_of(spec, base, data),
        "adapter": {
            "sha256": adapter_sha256,
            "type": "qlora" if spec.use_qlora else "lora",
        },
        "base_model": {
            "name": base.name,
            "sha256": base.sha256,
            "parameters": base.parameters,
            "files": base.file_hashes,
        },
        "data": {"sha256": data.sha256, **data.counts},
        "template": {
            "sha256": base.template.sha256,
            "text": base.template.source,
            "enable_thinking": base.enable_thinking,
        },
        "config": spec.config.model_dump(),
        "config_sha256": sha256_of_json(spec.config.model_dump()),
        "learning_rate": learning_rate,
        "prompt_noise": amounts.noise,
        "copy_variation": amounts.variation,
        "precision": precision,
        "seed": spec.seed,
        "threads": spec.threads,
        "metrics": metrics,
        "code": {"helox": helox.__version__, "source_sha256": source_sha256()},
        "libraries": {name: version(name) for name in LIBRARIES},
        "machine": {
            "python": platform.python_version(),
            "processor": platform.machine(),
            "device": device,
        },
    }
