"""Read a LoRA adapter's files: hash them, then parse them; an error names what is wrong."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cyrex.engine.errors import AdapterRefused
from cyrex.engine.request import AdapterRef

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MAX_RANK = 512
_PREFIX = "base_model.model."
# PEFT reads pattern keys as regular expressions; some of those never end. Module names do.
_PLAIN_KEY = re.compile(r"[\w.]+")
# PEFT options that change more than a linear layer by a pair of matrices.
_UNSERVED = (
    "modules_to_save", "use_dora", "layer_replication", "lora_bias", "trainable_token_indices",
)  # fmt: skip
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_HEADER_BYTES = 8
_PIECE_BYTES = 1 << 19  # Fits the core's own cache, so hashing a piece reads no memory.
# A buffer for a larger file is not kept.
STAGING_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A linear layer of the base model that adapters may change."""

    index: int
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Pair:
    """An adapter's update of one layer: `scale * up @ down`. down: (rank, in), up: (out, rank)."""

    place: Place
    down: torch.Tensor
    up: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]


class Staging:
    """A reused buffer that files are read into: allocating fresh pages costs as much as reading.

    For one thread. A view is valid until the next file is read.
    """

    def __init__(self) -> None:
        self._kept = bytearray()

    def of(self, size: int) -> memoryview:
        if size > len(self._kept):
            memory = bytearray(size)
            if size > STAGING_BYTES:
                return memoryview(memory)
            self._kept = memory
        return memoryview(self._kept)[:size]


def read(ref: AdapterRef, places: Mapping[str, Place], staging: Staging) -> list[Pair]:
    """The adapter's matrices, as views of the file's bytes in `staging`. Raises AdapterRefused."""
    try:
        data, sha256 = _hashed(Path(ref.path) / WEIGHTS_FILE, staging)
        raw = json.loads((Path(ref.path) / CONFIG_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise AdapterRefused(f"adapter {ref.adapter_id} cannot be read: {error}") from error
    if sha256 != ref.weights_sha256:
        raise AdapterRefused(f"adapter {ref.adapter_id}: its weights are not those asked for")
    try:
        return _pairs(_Config.of(raw), _tensors(data), places)
    except AdapterRefused as error:
        raise AdapterRefused(f"adapter {ref.adapter_id}: {error}"[:500]) from None
    except Exception as error:
        raise AdapterRefused(f"adapter {ref.adapter_id}: {error!r}"[:500]) from error


def _hashed(path: Path, staging: Staging) -> tuple[memoryview, str]:
    """The file's bytes and their SHA-256: one piece is hashed while the disk reads the next."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, size, os.POSIX_FADV_WILLNEED)
        data, end = staging.of(size), 0
        while end < size:
            count = file.readinto(data[end : end + _PIECE_BYTES])
            if not count:
                raise OSError("it became shorter while it was read")
            digest.update(data[end : end + count])
            end += count
    return data, digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Config:
    """Ranks and scales from adapter_config.json."""

    rank: int
    alpha: float
    use_rslora: bool
    ranks: dict[str, int]
    alphas: dict[str, float]

    @classmethod
    def of(cls, raw: dict[str, Any]) -> _Config:
        refused = [key for key in _UNSERVED if raw.get(key)]
        if refused or raw.get("peft_type") != "LORA" or raw.get("bias", "none") != "none":
            raise AdapterRefused(f"not a plain LoRA adapter {refused or ''}".strip())
        ranks, alphas = raw.get("rank_pattern") or {}, raw.get("alpha_pattern") or {}
        if not all(_PLAIN_KEY.fullmatch(key) for key in (*ranks, *alphas)):
            raise AdapterRefused("its rank_pattern or alpha_pattern is not a map of module names")
        return cls(raw["r"], raw["lora_alpha"], bool(raw.get("use_rslora")), ranks, alphas)

    def rank_of(self, module: str) -> int:
        return int(_by_pattern(self.ranks, module, self.rank))

    def scale_of(self, module: str) -> float:
        rank, alpha = self.rank_of(module), float(_by_pattern(self.alphas, module, self.alpha))
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def _by_pattern(patterns: Mapping[str, float], module: str, otherwise: float) -> float:
    """As PEFT does: the first key that is the module's name, or its end after a dot."""
    for key, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({key})", module):
            return value
    return otherwise


def _tensors(data: memoryview) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, as read-only views of `data`."""
    size = int.from_bytes(data[:_HEADER_BYTES], "little")
    body = _HEADER_BYTES + size
    if body > len(data):
        raise AdapterRefused("its header is longer than the file")
    tensors = {}
    for name, entry in json.loads(bytes(data[_HEADER_BYTES:body])).items():
        if name == "__metadata__":
            continue
        dtype, shape = _DTYPES.get(entry["dtype"]), entry["shape"]
        start, end = (body + offset for offset in entry["data_offsets"])
        if dtype is None or len(shape) != 2 or min(shape) < 1:
            raise AdapterRefused(f"{name} is {entry['dtype']} {shape}: not a matrix of floats")
        count = shape[0] * shape[1]
        if not body <= start <= end <= len(data) or end - start != count * dtype.itemsize:
            raise AdapterRefused(f"{name} is not where the header says")
        flat = torch.frombuffer(data, dtype=dtype, count=count, offset=start)
        tensors[name] = flat.view(shape)
    return tensors


def _pairs(
    config: _Config, tensors: dict[str, torch.Tensor], places: Mapping[str, Place]
) -> list[Pair]:
    pairs = []
    for name in [name for name in tensors if name.endswith(".lora_A.weight")]:
        module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        up = tensors.pop(f"{_PREFIX}{module}.lora_B.weight", None)
        down = tensors.pop(name)
        if up is None or not name.startswith(_PREFIX):
            raise AdapterRefused(f"{name} has no lora_B beside it")
        place = places.get(module)
        if place is None:
            raise AdapterRefused(f"the base model has no place for {name}")
        rank = config.rank_of(module)
        if not 1 <= rank <= MAX_RANK:
            raise AdapterRefused(f"{module}: rank {rank}, which must be from 1 to {MAX_RANK}")
        shapes = (rank, place.inputs), (place.outputs, rank)
        if (tuple(down.shape), tuple(up.shape)) != shapes:
            found = f"{list(down.shape)} and {list(up.shape)}"
            raise AdapterRefused(f"{module}: {found}, where the base model needs {shapes}")
        pairs.append(Pair(place, down, up, config.scale_of(module)))
    if not pairs or tensors:
        odd = next(iter(tensors), "no tensor")
        raise AdapterRefused(f"its tensors are not pairs of lora_A and lora_B: {odd}")
    return pairs
