from __future__ import annotations

import torch

from cyrex.engine.kv import GROWTH_COLUMNS, BatchCache, joined

HEADS, WIDTH, LAYERS = 2, 3, 2


def filled(rows: int, columns: int, seed: int) -> tuple[BatchCache, list[torch.Tensor]]:
    """A cache of random keys (values are their negative), and the keys of each layer."""
    torch.manual_seed(seed)
    cache = BatchCache()
    keys = [torch.rand(rows, HEADS, columns, WIDTH) for _ in range(LAYERS)]
    for layer, states in enumerate(keys):
        cache.update(states, -states, layer)
    return cache, keys


def test_columns_are_appended_without_moving_what_is_there() -> None:
    cache, keys = filled(2, 5, 0)
    for step in range(GROWTH_COLUMNS + 3):
        more = torch.full((2, HEADS, 1, WIDTH), float(step))
        seen, values = cache.update(more, -more, 0)
        cache.update(more, -more, 1)
    assert cache.length == 5 + GROWTH_COLUMNS + 3 == cache.get_seq_length()
    assert torch.equal(seen[:, :, :5], keys[0])
    assert seen[0, 0, 5:, 0].tolist() == list(range(GROWTH_COLUMNS + 3))
    assert torch.equal(values, -seen)
    assert cache.get_mask_sizes(1, 0) == (cache.length + 1, 0)


def test_an_empty_cache_has_no_columns() -> None:
    assert BatchCache().length == 0


def test_caches_are_joined_right_aligned() -> None:
    long, long_keys = filled(3, 7, 1)
    short, short_keys = filled(2, 4, 2)
    cache = joined([(long, torch.tensor([2, 0]), 2), (short, None, 0)])
    assert cache.length == 5
    for layer in range(LAYERS):
        keys, values = cache.layers[layer].keys[:, :, :5], cache.layers[layer].values[:, :, :5]
        assert torch.equal(keys[:2], long_keys[layer][[2, 0]][:, :, 2:])
        assert torch.equal(keys[2:, :, 1:], short_keys[layer])
        assert not keys[2:, :, :1].any()
        assert torch.equal(values, -keys)


def test_a_joined_cache_is_a_copy() -> None:
    source, keys = filled(2, 4, 3)
    cache = joined([(source, None, 0)])
    source.layers[0].keys.zero_()
    assert torch.equal(cache.layers[0].keys[:, :, :4], keys[0])
