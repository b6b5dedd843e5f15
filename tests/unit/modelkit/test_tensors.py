from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from modelkit.errors import PackageRefused, Refusal
from modelkit.tensors import read_header


def read(data: bytes) -> dict[str, Any]:
    return dict(read_header(io.BytesIO(data), len(data), "w.safetensors"))


def file_of(header: object, buffer: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + buffer


def entry(dtype: object = "F32", shape: object = None, offsets: object = None) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape or [2], "data_offsets": offsets or [0, 8]}


def test_a_good_header_is_read(make_safetensors: Callable[..., bytes]) -> None:
    tensors = read(make_safetensors({"a": [2, 3], "b": [4], "c": []}))
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "a": (2, 3),
        "b": (4,),
        "c": (),
    }
    assert (tensors["b"].begin, tensors["b"].end, tensors["b"].dtype) == (24, 40, "F32")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "longer than the file"),
        (b"\x00" * 7, "longer than the file"),
        (struct.pack("<Q", 2**63) + b"{}", "longer than the file"),
        (struct.pack("<Q", 3) + b"{}", "longer than the file"),
        (file_of(b"not json"), "Expecting value"),
        (file_of(b"\xff\xfe{"), "decode"),
        (file_of([1]), "not a JSON object"),
        # Python's word for it, and whether it can read it, depend on its version and its stack.
        (file_of(b"[" * 100_000 + b"]" * 100_000), "nested too deeply|not a JSON object"),
        (file_of({"__metadata__": {"a": 1}}), "__metadata__"),
        (file_of({"t": "F32"}), "not described"),
        (file_of({"t": entry() | {"extra": 1}}, b"\0" * 8), "not described"),
        (file_of({"t": entry(dtype="O")}, b"\0" * 8), "unknown dtype"),
        (file_of({"t": entry(dtype=["F32"])}, b"\0" * 8), "unknown dtype"),
        (file_of({"t": entry(shape=[-2])}, b"\0" * 8), "malformed"),
        (file_of({"t": entry(shape=[True])}, b"\0" * 8), "malformed"),
        (file_of({"t": entry(offsets=[0, 8, 9])}, b"\0" * 8), "malformed"),
        (file_of({"t": entry(shape=[3])}, b"\0" * 8), "other bytes"),
        (file_of({"t": entry(offsets=[8, 16])}, b"\0" * 16), "gap or overlap"),
        (file_of({"t": entry(), "u": entry()}, b"\0" * 8), "gap or overlap"),
        (file_of({"t": entry()}, b"\0" * 7), "the file has 7"),
        (file_of({"t": entry()}, b"\0" * 9), "the file has 9"),
        (file_of(b'{"t": 1, "t": 2}'), "twice"),
    ],
)
def test_a_malformed_file_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(PackageRefused, match=why) as refused:
        read(data)
    assert refused.value.reason is Refusal.BAD_TENSORS
    assert refused.value.file == "w.safetensors"


def test_every_truncation_of_a_good_file_is_refused(
    make_safetensors: Callable[..., bytes],
) -> None:
    data = make_safetensors({"a": [2], "b": [1]})
    for length in range(len(data)):
        with pytest.raises(PackageRefused):
            read(data[:length])
