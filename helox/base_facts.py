"""What a configuration must know of its base model, out of a few kilobytes of its files.

Names and shapes come from the headers of the weights, so nothing of the model is loaded.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helox.errors import UserError
from helox.template import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE

CONFIG_FILE = "config.json"
MAX_HEADER_BYTES = 100 << 20  # as the format itself allows
MAX_ADDED_TOKENS_BYTES = 8 << 20  # of tokenizer.json; they stand at its beginning

# Families whose layers are transformers' Conv1D, which keeps its matrix turned: PEFT adapts them,
# and the engine that serves adapters does not.
CONV1D_TYPES = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
EMBEDDING = re.compile(r"(?:^|\.)(?:[\w]*embed[\w]*|wte|wpe|shared|lm_head|embed_out)$")
EXPERT = re.compile(r"\.experts(?:\.|$)")


@dataclass(frozen=True)
class BaseFacts:
    """linear: full names of the layers that an adapter can be served on. experts: matrices of
    experts, which are fused when the model is loaded, so that no adapter is put on them."""

    name: str
    max_positions: int | None
    linear: frozenset[str]
    experts: int
    conv1d: bool
    control_tokens: tuple[str, ...]

    @property
    def kinds(self) -> list[str]:
        """The last parts of the layers' names: what `target_modules` may name."""
        return sorted({name.rpartition(".")[2] for name in self.linear})

    def has(self, target: str) -> bool:
        """As PEFT matches a name: the whole of it, or its last parts."""
        return target in self.linear or any(name.endswith(f".{target}") for name in self.linear)


def base_facts(folder: Path) -> BaseFacts:
    """Reads config and headers. Raises `UserError` for files that cannot be read."""
    config = _config_of(folder)
    vocabulary, positions = config.get("vocab_size"), config.get("max_position_embeddings")
    linear: set[str] = set()
    experts = 0
    for name, shape in _tensors(folder):
        module, _, last = name.rpartition(".")
        if EXPERT.search(name):
            experts += 1
        elif last == "weight" and len(shape) == 2 and not EMBEDDING.search(module):
            linear.add(module)
            if shape[0] == vocabulary:  # an output layer under a name of its own
                linear.remove(module)
    return BaseFacts(
        name=folder.resolve().name,
        max_positions=positions if isinstance(positions, int) else None,
        linear=frozenset(linear),
        experts=experts,
        conv1d=config.get("model_type") in CONV1D_TYPES,
        control_tokens=_control_tokens(folder),
    )


def _tensors(folder: Path) -> Iterator[tuple[str, list[int]]]:
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, MAX_HEADER_BYTES)))
            yield from (
                (name, entry["shape"]) for name, entry in header.items() if name != "__metadata__"
            )
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise UserError(
                "bad_base_model",
                f"{path.name} of the base model is not safetensors: {error}",
                field="base_model",
            ) from error


def _config_of(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            "bad_base_model",
            f"{CONFIG_FILE} of the base model cannot be read: {error}",
            field="base_model",
        ) from error
    return config


def _control_tokens(folder: Path) -> tuple[str, ...]:
    """The special ones of the added tokens. The vocabulary behind them, megabytes, is not read."""
    try:
        with (folder / TOKENIZER_FILE).open(encoding="utf-8") as file:
            text = file.read(MAX_ADDED_TOKENS_BYTES)
        place = re.search(r'"added_tokens"\s*:\s*', text)
        added = json.JSONDecoder().raw_decode(text, place.end())[0] if place else []
    except (OSError, ValueError):
        added = _decoder_of(folder)
    return tuple(
        sorted({t["content"] for t in added if isinstance(t, Mapping) and t.get("special")})
    )


def _decoder_of(folder: Path) -> list[Any]:
    try:
        config = json.loads((folder / TOKENIZER_CONFIG_FILE).read_text(encoding="utf-8"))
        return list((config.get("added_tokens_decoder") or {}).values())
    except (OSError, ValueError, AttributeError):
        return []
