"""The compiled loops compute what torch's operators compute."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from cyrex.engine import kernels


@pytest.mark.parametrize(("width", "out"), [(8, 8), (33, 20), (64, 129)])
def test_each_row_gets_its_own_adapter(width: int, out: int) -> None:
    torch.manual_seed(0)
    ranks = [4, 0, 16, 8, 4]
    adapters = [(torch.randn(rank, width), torch.randn(rank, out)) for rank in ranks]
    parts = [part.flatten() for pair in adapters for part in pair]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    arena = torch.cat(parts).numpy()
    tables = [np.zeros((2, len(ranks)), np.int64) for _ in range(3)]
    tables[0][1], tables[1][1], tables[2][1] = starts[0:-1:2], starts[1::2], ranks
    # Rows 0 and 5 share an adapter, and so do 2 and 6; the last row has none.
    owners = [0, 1, 2, 3, 4, 0, 2]
    tables = [table.take(owners, 1) for table in tables]
    pairs = np.array([[0, 5], [6, 2], [1, -1], [3, -1], [4, -1]])
    x, y = torch.randn(len(owners) + 1, width), torch.randn(len(owners) + 1, out)
    expected = y.clone()
    for i, owner in enumerate(owners):
        a, b = adapters[owner]
        expected[i] += x[i] @ a.T @ b
    kernels.add_lora(x.numpy(), y.numpy(), arena, *tables, 1, pairs)
    assert torch.allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("softcap", [0.0, 3.0])
@pytest.mark.parametrize("window", [0, 5])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
def test_each_row_sees_exactly_its_own_tokens(
    heads: int, kv_heads: int, window: int, softcap: float
) -> None:
    torch.manual_seed(1)
    slots, places = [5, 0, 3], [0, 4, 30]
    capacity, width, depth = 40, 12, 20
    keys = torch.full((6, kv_heads, capacity, width), math.nan)
    values = torch.full((6, kv_heads, capacity, depth), math.nan)
    for slot, place in zip(slots, places, strict=True):  # What lies behind a row stays NaN.
        keys[slot, :, :place] = torch.randn(kv_heads, place, width)
        values[slot, :, :place] = torch.randn(kv_heads, place, depth)
    q = torch.randn(3, heads, width)
    new_keys, new_values = torch.randn(3, kv_heads, width), torch.randn(3, kv_heads, depth)
    out = torch.full((3, heads, depth), math.nan)
    kernels.attend(
        q.numpy(), new_keys.numpy(), new_values.numpy(), keys.numpy(), values.numpy(),
        out.numpy(), np.array(slots), np.array(places), 0.3, softcap, window,
    )  # fmt: skip
    for i, (slot, place) in enumerate(zip(slots, places, strict=True)):
        assert torch.equal(keys[slot, :, place], new_keys[i])
        first = max(0, place + 1 - window) if window else 0
        group = heads // kv_heads
        k = keys[slot, :, first : place + 1].repeat_interleave(group, 0)
        v = values[slot, :, first : place + 1].repeat_interleave(group, 0)
        scores = 0.3 * torch.einsum("hc,hpc->hp", q[i], k)
        scores = softcap * torch.tanh(scores / softcap) if softcap else scores
        expected = torch.einsum("hp,hpc->hc", scores.softmax(-1), v)
        assert torch.allclose(out[i], expected, rtol=1e-4, atol=1e-5)


def test_far_apart_scores_and_numbers_that_are_none() -> None:
    q = torch.tensor([[[1.0]], [[1.0]], [[1.0]]])
    keys = torch.zeros(3, 1, 8, 1)
    keys[0, 0, :2, 0] = torch.tensor([3e4, -3e4])
    keys[1, 0, :2, 0] = torch.tensor([math.nan, 0.0])
    values = torch.ones(3, 1, 8, 1)
    values[0, 0, 0, 0] = 7.0
    out = torch.zeros(3, 1, 1)
    new = torch.zeros(3, 1, 1)
    kernels.attend(
        q.numpy(), new.numpy(), new.numpy(), keys.numpy(), values.numpy(), out.numpy(),
        np.arange(3), np.full(3, 2), 1.0, 0.0, 0,
    )  # fmt: skip
    assert out[0].item() == pytest.approx(7.0)
    assert math.isnan(out[1].item())
    assert out[2].item() == pytest.approx(2 / 3)


def test_the_exponential_is_exact_enough() -> None:
    scores = torch.linspace(-80, 0, 200)
    keys, values = scores[None, None, :, None].clone(), torch.ones(1, 1, 200, 1)
    out = torch.zeros(1, 1, 1)
    for chosen in range(0, 199, 7):
        values.zero_()
        values[0, 0, chosen] = 1.0
        kernels.attend(
            torch.ones(1, 1, 1).numpy(), keys[:, :, 199].numpy().copy(),
            values[:, :, 199].numpy().copy(), keys.numpy(), values.numpy(), out.numpy(),
            np.array([0]), np.array([199]), 1.0, 0.0, 0,
        )  # fmt: skip
        expected = scores.double().softmax(-1)[chosen].item()
        assert out.item() == pytest.approx(expected, rel=2e-5)


def test_threads_share_the_rows_and_change_no_bit() -> None:
    kernels.use_threads(2)
    torch.manual_seed(3)
    x, arena = torch.randn(5, 16), torch.randn(5 * 2 * 4 * 16)
    starts = np.arange(5)[None] * 2 * 4 * 16
    ranks, rows = np.full((1, 5), 4), np.array([[0, -1], [1, -1], [2, -1], [3, -1], [4, -1]])
    sums = [torch.zeros(5, 16) for _ in range(2)]
    q, new = torch.randn(5, 4, 8), torch.randn(5, 2, 8)
    keys, values = torch.randn(5, 2, 9, 8), torch.randn(5, 2, 9, 8)
    outs = [torch.zeros(5, 4, 8) for _ in range(2)]
    for threads in (1, 2):
        chosen, y, out = kernels.kernels(threads), sums[threads - 1], outs[threads - 1]
        chosen.add_lora(x.numpy(), y.numpy(), arena.numpy(), starts, starts + 64, ranks, 0, rows)
        chosen.attend(
            q.numpy(), new.numpy(), new.numpy(), keys.numpy(), values.numpy(), out.numpy(),
            np.arange(5), np.array([0, 3, 8, 5, 1]), 0.3, 0.0, 0,
        )  # fmt: skip
    assert sums[0].any()
    assert outs[0].any()
    assert torch.equal(*sums)
    assert torch.equal(*outs)
    kernels.use_threads(1)


def test_attention_in_torch_agrees() -> None:
    torch.manual_seed(2)
    q, k, v = torch.randn(2, 4, 8), torch.randn(2, 2, 16, 8), torch.randn(2, 2, 16, 8)
    out = torch.zeros(2, 4, 8)
    last = np.array([15, 15])
    kernels.attend(
        q.numpy(), k[:, :, 15].clone().numpy(), v[:, :, 15].clone().numpy(), k.numpy(),
        v.numpy(), out.numpy(), np.arange(2), last, 8**-0.5, 0.0, 0,
    )  # fmt: skip
    expected = scaled_dot_product_attention(q[:, :, None], k, v, enable_gqa=True)[:, :, 0]
    assert torch.allclose(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vocabulary", [32, 70])
def test_each_row_loses_what_its_own_grammar_bars(vocabulary: int) -> None:
    logits = torch.randn(4, vocabulary)
    bits = np.random.default_rng(4).integers(0, 2, (2, 96), dtype=np.uint8)
    words = np.packbits(bits, axis=1, bitorder="little").view(np.int32)
    allowed = torch.empty_like(logits)
    kernels.mask_logits(logits.numpy(), words, np.array([-1, 1, 0, -1]), allowed.numpy())
    expected = logits.clone()
    for row, own in ((1, 1), (2, 0)):
        expected[row, torch.from_numpy(bits[own, :vocabulary]) == 0] = -math.inf
    assert torch.equal(allowed, expected)
