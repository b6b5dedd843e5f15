"""receipt.json: what an adapter was made from, so that it can be explained or made again."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import helox
from helox.base import Base, sha256_of_json
from helox.data import Dataset
from helox.lineage import Parent
from helox.spec import TrainingSpec

if TYPE_CHECKING:
    from helox.methods.method import Method

RECEIPT_FORMAT = 1
LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "bitsandbytes")


def fingerprint_of(spec: TrainingSpec, base: Base, data: Dataset, parent: Parent | None) -> str:
    """Equal for two runs that must end in equal bytes. Knows no paths: a run may move."""
    return sha256_of_json(
        {
            "helox": helox.__version__,
            "base": base.sha256,
            "data": data.sha256,
            "validation": data.validation_sha256,
            "continue_from": parent.sha256 if parent else None,
            "config": spec.config.model_dump(),
            "use_qlora": spec.use_qlora,
            "seed": spec.seed,
            "threads": spec.threads,
        }
    )


def source_sha256() -> str:
    """SHA-256 of the trainer's own code: every module, by its path in the package."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def make_receipt(
    spec: TrainingSpec,
    base: Base,
    method: Method,
    parent: Parent | None,
    *,
    adapter_sha256: str,
    precision: str,
    packing: str,
    metrics: dict[str, Any],
    device: str,
) -> dict[str, Any]:
    """The content of receipt.json. `packing` is "on", or why it is off."""
    data, plan = method.data, method.plan
    return {
        "format": RECEIPT_FORMAT,
        "fingerprint": fingerprint_of(spec, base, data, parent),
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
        "data": {
            "sha256": data.sha256,
            "validation_sha256": data.validation_sha256,
            **data.counts,
        },
        "continued_from": parent.lineage() if parent else None,
        "template": {
            "sha256": base.template.sha256,
            "text": base.template.source,
            "enable_thinking": base.enable_thinking,
        },
        "config": spec.config.model_dump(),
        "config_sha256": sha256_of_json(spec.config.model_dump()),
        "learning_rate": plan.learning_rate,
        "plan": asdict(plan),
        "method": spec.config.method,
        **method.describe(),
        "precision": precision,
        "packing": packing,
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
