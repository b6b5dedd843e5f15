"""Decoding by torch's operators is what the compiled loop computes; pieces are what a whole is."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cyrex.engine.attention import _by_gather, _by_kernel, attention
from cyrex.engine.kv import SlotCache
from cyrex.engine.layout import Layout, Piece

HEADS, KV_HEADS, WIDTH, DEPTH = 6, 2, 8, 12
CPU = torch.device("cpu")
MODULE: Any = SimpleNamespace(layer_idx=0)


def cache(fill: float = math.nan) -> SlotCache:
    slots = SlotCache(1, 4, 64)
    key, value = torch.zeros(1, KV_HEADS, 1, WIDTH), torch.zeros(1, KV_HEADS, 1, DEPTH)
    slots.layers[0].lazy_initialization(key, value)
    slots.layers[0].keys.fill_(fill)
    slots.layers[0].values.fill_(fill)
    return slots


@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("window", [0, 4])
def test_both_ways_of_decoding_agree(window: int, softcap: float) -> None:
    torch.manual_seed(0)
    slots = cache()
    layer = slots.layers[0]
    rows = [(3, 0), (0, 17), (2, 40)]
    for slot, past in rows:
        layer.keys[slot, :, :past] = torch.randn(KV_HEADS, past, WIDTH)
        layer.values[slot, :, :past] = torch.randn(KV_HEADS, past, DEPTH)
    layout = Layout([Piece([1], past, slot, None) for slot, past in rows], [], slots, CPU)
    q, k = torch.randn(3, HEADS, WIDTH), torch.randn(3, KV_HEADS, WIDTH)
    v = torch.randn(3, KV_HEADS, DEPTH)
    outs = [torch.full((3, HEADS, DEPTH), math.nan) for _ in range(2)]
    for decode, out in zip((_by_kernel, _by_gather), outs, strict=True):
        decode(q, k, v, layer, layout, out, 0.35, softcap, window)
    assert outs[0].isfinite().all()
    assert torch.allclose(outs[0], outs[1], rtol=1e-4, atol=1e-5)
    assert torch.equal(layer.keys[0, :, 17], k[1])


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 4])
def test_a_prompt_in_pieces_is_a_prompt(window: int | None, softcap: float | None) -> None:
    """Two rows, read in different pieces, one of them at last token by token."""
    torch.manual_seed(1)
    length = 14
    states = [
        (torch.randn(1, HEADS, length, WIDTH), torch.randn(1, KV_HEADS, length, WIDTH),
         torch.randn(1, KV_HEADS, length, DEPTH))
        for _ in range(2)
    ]  # fmt: skip

    def run(slots: SlotCache, decoding: list[int], parts: list[tuple[int, int, int]]) -> Any:
        """decoding: past lengths of row 0; parts: (row, start, end)."""
        layout = Layout(
            [Piece([1], past, 2, None) for past in decoding],
            [Piece([1] * (end - start), start, 2 - row, None) for row, start, end in parts],
            slots,
            CPU,
        )
        spans = [(0, past, past + 1) for past in decoding] + parts
        q, k, v = (
            torch.cat([states[row][i][:, :, start:end] for row, start, end in spans], 2)
            for i in range(3)
        )
        options = {"scaling": 0.4, "sliding_window": window, "softcap": softcap}
        return attention(MODULE, q, k, v, None, layout=layout, **options)[0][0]

    whole = run(cache(), [], [(0, 0, length), (1, 0, length)])
    slots = cache()
    first = run(slots, [], [(0, 0, 9), (1, 0, 3)])
    second = run(slots, [], [(0, 9, 12), (1, 3, length)])
    third = run(slots, [12], [])
    fourth = run(slots, [13], [])
    row0 = torch.cat([first[:9], second[:3], third, fourth])
    row1 = torch.cat([first[9:], second[3:]])
    assert torch.allclose(row0, whole[:length], rtol=1e-4, atol=1e-5)
    assert torch.allclose(row1, whole[length:], rtol=1e-4, atol=1e-5)


def test_what_is_not_known_is_refused() -> None:
    layout = Layout([], [Piece([1], 0, 0, None)], cache(), CPU)
    q, k = torch.zeros(1, HEADS, 1, WIDTH), torch.zeros(1, KV_HEADS, 1, WIDTH)
    with pytest.raises(ValueError, match="sinks"):
        attention(MODULE, q, k, k, None, s_aux=torch.zeros(HEADS), layout=layout)
