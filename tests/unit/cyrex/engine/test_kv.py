from __future__ import annotations

import pytest
import torch

from cyrex.engine.kv import NO_SLOT, SlotCache
from cyrex.engine.layout import Layout, Piece

LAYERS, SLOTS, CAPACITY, HEADS, WIDTH = 2, 3, 32, 2, 4
CPU = torch.device("cpu")


def filled(cache: SlotCache, pieces: list[Piece], seed: int) -> list[torch.Tensor]:
    """Store random keys for a pass (values are their negative); returns them by layer."""
    torch.manual_seed(seed)
    layout = Layout([], pieces, cache, CPU)
    keys = [torch.rand(1, HEADS, layout.tokens.shape[1], WIDTH) for _ in range(LAYERS)]
    for layer, states in zip(cache.layers, keys, strict=True):
        new = cache.update(states, -states, cache.layers.index(layer))
        assert new[0] is states
        layer.store(*new, layout.segments)
    return keys


def test_each_piece_goes_to_its_slot() -> None:
    cache = SlotCache(LAYERS, SLOTS, CAPACITY)
    first = filled(cache, [Piece([7] * 5, 0, 2, None), Piece([7] * 3, 0, 0, None)], 0)
    more = filled(cache, [Piece([7] * 2, 9, NO_SLOT, None), Piece([7] * 4, 5, 2, None)], 1)
    for layer, one, two in zip(cache.layers, first, more, strict=True):
        assert torch.equal(layer.keys[2, :, :5], one[0, :, :5])
        assert torch.equal(layer.keys[0, :, :3], one[0, :, 5:])
        assert torch.equal(layer.keys[2, :, 5:9], two[0, :, 2:])
        assert torch.equal(layer.values[2, :, :9], -layer.keys[2, :, :9])


def test_columns_are_copied_from_slot_to_slot() -> None:
    cache = SlotCache(LAYERS, SLOTS, CAPACITY)
    filled(cache, [Piece([7] * 12, 0, 1, None)], 0)
    columns = cache.read(1, 4, 10)
    cache.write(0, 4, columns)
    for layer in cache.layers:
        assert torch.equal(layer.keys[0, :, 4:10], layer.keys[1, :, 4:10])
        layer.keys[1].zero_()
    assert all(part.any() for part in columns)


def test_slots_are_taken_and_given_back() -> None:
    cache = SlotCache(LAYERS, SLOTS, CAPACITY)
    slots = [cache.take() for _ in range(SLOTS)]
    assert sorted(slots) == list(range(SLOTS))
    assert cache.free_slots == 0
    for slot in slots:
        assert not cache.is_empty
        cache.give_back(slot)
    assert cache.is_empty
    with pytest.raises(AssertionError):
        cache.give_back(0)


def test_a_pass_is_one_line_of_tokens() -> None:
    cache = SlotCache(LAYERS, SLOTS, CAPACITY)
    decoding = [Piece([5], 8, 2, None), Piece([6], 0, 0, None)]
    prompts = [Piece([1, 2, 3], 4, 1, None), Piece([9], 0, NO_SLOT, None)]
    layout = Layout(decoding, prompts, cache, CPU)
    assert layout.tokens.tolist() == [[5, 6, 1, 2, 3, 9]]
    assert layout.positions.tolist() == [[8, 0, 4, 5, 6, 0]]
    assert (layout.slots.tolist(), layout.places.tolist()) == ([2, 0], [8, 0])
    assert [(s.start, s.end, s.past) for s in layout.segments] == [(2, 5, 4), (5, 6, 0)]
