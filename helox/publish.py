"""The output directory: an adapter with its configuration and receipt, or nothing at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from helox.base import sha256_of_file
from helox.checkpoint_files import ADAPTER_CONFIG_FILE, ADAPTER_FILE, RECEIPT_FILE
from helox.errors import UserError
from helox.files import publish_directory, write_json


def is_published(output: Path, fingerprint: str) -> bool:
    """True if `output` is already the result of this very run.

    Raises:
        UserError: something else is there; it is not written over.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    try:
        receipt = json.loads((output / RECEIPT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        receipt = {}
    if receipt.get("fingerprint") == fingerprint:
        return True
    raise UserError("output_exists", f"output_dir {output.name!r} is not empty", field="output_dir")


def publish(
    output: Path,
    state: dict[str, torch.Tensor],
    adapter_config: dict[str, Any],
    make_receipt: Callable[[str], dict[str, Any]],
) -> str:
    """Makes `output` appear whole; `make_receipt` gets the adapter's SHA-256, which is returned."""
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    adapter = partial / ADAPTER_FILE
    save_file(state, adapter, metadata={"format": "pt"})
    write_json(partial / ADAPTER_CONFIG_FILE, adapter_config)
    sha256 = sha256_of_file(adapter)
    write_json(partial / RECEIPT_FILE, make_receipt(sha256))
    if output.exists():
        output.rmdir()  # empty, or `is_published` would have refused it
    publish_directory(partial, output)
    return sha256
