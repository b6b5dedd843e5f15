"""Read and check the header of a safetensors file, without a model library.

A file is 8 bytes of little-endian header length, a JSON object, then one buffer of tensor bytes.
Format: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

from modelkit.errors import PackageRefused, Refusal

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 16 << 20
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file. `begin` and `end` are byte offsets into the buffer."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(stream: BinaryIO, size: int, file: str) -> dict[str, Tensor]:
    """Every tensor of a file. stream: the file at its start; size: its bytes; file: for errors.

    Raises PackageRefused(BAD_TENSORS, file) unless the header is well-formed, every tensor's bytes
    are exactly what its dtype and shape need, and together they fill the buffer without a gap or
    an overlap: a truncated or padded file is refused here, before anything maps it.
    """
    try:
        raw = stream.read(LENGTH_BYTES)
        length = int.from_bytes(raw, "little")
        if len(raw) < LENGTH_BYTES or length > min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
            raise ValueError("the header is longer than the file or than 16 MiB")
        header = json.loads(stream.read(length), object_pairs_hook=_unique)
        tensors = _tensors(header)
        _check_buffer(tensors, size - LENGTH_BYTES - length)
    except RecursionError:
        raise PackageRefused(Refusal.BAD_TENSORS, file, "the header is nested too deeply") from None
    except ValueError as error:
        raise PackageRefused(Refusal.BAD_TENSORS, file, str(error)[:200]) from None
    return tensors


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("the header has the same key twice")
    return entries


def _tensors(header: object) -> dict[str, Tensor]:
    entries = dict(header) if isinstance(header, dict) else None
    if entries is None:
        raise ValueError("the header is not a JSON object")
    _check_metadata(entries.pop("__metadata__", {}))
    return {name: _tensor(name, entry) for name, entry in entries.items()}


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("__metadata__ is not a map of strings")


def _tensor(name: str, entry: object) -> Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise ValueError(f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name!r} has a malformed shape or data_offsets")
    begin, end = offsets
    if end - begin != prod(shape) * DTYPE_BYTES[dtype]:
        raise ValueError(f"tensor {name!r} has other bytes than its dtype and shape need")
    return Tensor(dtype, tuple(shape), begin, end)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_buffer(tensors: dict[str, Tensor], buffer_bytes: int) -> None:
    position = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != position:
            raise ValueError("the tensors leave a gap or overlap")
        position = tensor.end
    if position != buffer_bytes:
        raise ValueError(f"the tensors need {position} bytes, the file has {buffer_bytes}")
