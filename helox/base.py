"""The base model as files: what a run must know about it before torch is imported."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helox.errors import UserError
from helox.template import TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, ChatTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONFIG_FILE = "config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
# What decides how the base behaves; a model card or a licence does not.
IDENTITY_FILES = (
    CONFIG_FILE,
    GENERATION_CONFIG_FILE,
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    TOKENIZER_CONFIG_FILE,
    "model.safetensors.index.json",
)
WIDTH_NAMES = ("hidden_size", "n_embd", "d_model")  # as families call it
HASH_CHUNK_BYTES = 1 << 20


def sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """Of the canonical form: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Base:
    """A base model directory that passed `Base.open`."""

    path: Path
    config: dict[str, Any]
    enable_thinking: bool = False

    @classmethod
    def open(cls, path: str | Path, enable_thinking: bool = False) -> Base:
        """Checks that a local causal language model in safetensors lies at `path`.

        `enable_thinking`: whether a base that can reason before it answers does so.

        Raises:
            UserError: with the field `base_model` and what is missing.
            UnfitTemplate: its chat template cannot work.
        """
        directory = Path(path)
        if not directory.is_dir():
            raise _refused(f"the base model path {str(directory)!r} is not a directory")
        name = directory.name
        if (directory / "adapter_config.json").exists():
            raise _refused(f"the base model {name!r} is an adapter, or carries one")
        config = _read_config(directory / CONFIG_FILE)
        if "auto_map" in config:
            raise _refused(f"the base model {name!r} needs code of its own, which is never run")
        architectures = config.get("architectures") or []
        if not any(str(a).endswith(("ForCausalLM", "LMHeadModel")) for a in architectures):
            found = ", ".join(map(str, architectures)) or "none"
            raise _refused(
                f"the base model {name!r} is not a causal language model (architectures: {found})"
            )
        if not any(directory.glob("*.safetensors")):
            raise _refused(f"the base model {name!r} has no .safetensors weights")
        if not (directory / TOKENIZER_FILE).is_file():
            raise _refused(f"the base model {name!r} has no {TOKENIZER_FILE}")
        base = cls(directory, config, enable_thinking)
        _ = base.template.traits  # found once, here: it is no fault of a row
        return base

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def max_positions(self) -> int | None:
        """The longest sequence that the base was made for, in tokens, where it says so."""
        value = self.config.get("max_position_embeddings")
        return value if isinstance(value, int) else None

    @property
    def width(self) -> int | None:
        """Numbers in a hidden state, where the configuration says so."""
        sources = (self.config, self.config.get("text_config"))
        for source in sources:
            for name in WIDTH_NAMES:
                value = source.get(name) if isinstance(source, dict) else None
                if isinstance(value, int) and value > 0:
                    return value
        return None

    @cached_property
    def template(self) -> ChatTemplate:
        return ChatTemplate.load(self.path, self.enable_thinking)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer itself, without the truncation or padding that its file may ask for."""
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self.path / TOKENIZER_FILE))
        except Exception as error:  # the Rust side raises a bare Exception
            raise _refused(f"{TOKENIZER_FILE} of the base model cannot be read: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer; the first one is appended where a template writes none.

        Raises:
            UserError: the base names none, so a model trained on it could never stop.
        """
        ids: list[int] = []
        for name in (self.template.special_tokens.get("eos_token"), self.template.traits.end):
            token = self.template.token_ids.get(name) if name is not None else None
            if token is None and name is not None:  # no control token: only the tokenizer knows it
                token = self.tokenizer.token_to_id(name)
            if token is not None:
                ids.append(token)
        generation = self.path / GENERATION_CONFIG_FILE
        sources = [_read_config(generation)] if generation.is_file() else []
        for source in [*sources, self.config]:
            value = source.get("eos_token_id")
            ids += [v for v in (value if isinstance(value, list) else [value]) if v is not None]
        if not ids:
            raise _refused(f"the base model {self.name!r} names no end-of-sequence token")
        return tuple(dict.fromkeys(ids))

    @cached_property
    def parameters(self) -> int:
        """The number of parameters, read from the headers of the weight files."""
        return sum(_count_parameters(file) for file in sorted(self.path.glob("*.safetensors")))

    @cached_property
    def file_hashes(self) -> dict[str, str]:
        """SHA-256 by file name, of every file that decides what the base answers."""
        weights = [file.name for file in self.path.glob("*.safetensors")]
        names = [name for name in IDENTITY_FILES if (self.path / name).is_file()]
        return {name: sha256_of_file(self.path / name) for name in sorted(names + weights)}

    @property
    def sha256(self) -> str:
        """The identity of the base: the hash of `file_hashes`, and whether it is to reason."""
        thinking = {"enable_thinking": "true"} if self.enable_thinking else {}
        return sha256_of_json({**self.file_hashes, **thinking})


def _refused(message: str) -> UserError:
    return UserError("bad_base_model", message, field="base_model")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _refused(f"the base model {path.parent.name!r} has no {path.name}") from error
    except (OSError, ValueError) as error:
        raise _refused(f"{path.name} of the base model cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise _refused(f"{path.name} of the base model is not a JSON object")
    return values


def _count_parameters(path: Path) -> int:
    """A safetensors file starts with 8 bytes of length, then a JSON header with every shape."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        return sum(prod(v["shape"]) for k, v in header.items() if k != "__metadata__")
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise _refused(f"{path.name} of the base model is not safetensors: {error}") from error
