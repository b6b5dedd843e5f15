"""What is computed once, and for whom."""

from __future__ import annotations

import torch

from cyrex.engine import AdapterKey
from cyrex.engine.kv import SlotCache
from cyrex.engine.prefix import BLOCK_TOKENS, PrefixCache

BLOCK_BYTES = 2 * BLOCK_TOKENS * 3 * 4
PROMPT = list(range(3 * BLOCK_TOKENS + 5))


def cache() -> SlotCache:
    """One layer, four slots; slot s holds s + 1 in its keys and values."""
    slots = SlotCache(1, 4, 128)
    states = torch.zeros(1, 1, 1, 3)
    slots.layers[0].lazy_initialization(states, states)
    for slot in range(4):
        slots.layers[0].keys[slot] = slots.layers[0].values[slot] = slot + 1.0
    return slots


def found(prefix: PrefixCache, slots: SlotCache, company: str, prompt: list[int]) -> int:
    slots.layers[0].keys[3] = 0.0
    length = prefix.fetch(company, None, prompt, 3)
    copied = slots.layers[0].keys[3, 0, :, 0]
    assert copied[:length].all()
    assert not copied[length:].any()
    return length


def test_the_longest_known_beginning_is_copied() -> None:
    slots = cache()
    prefix = PrefixCache(slots, 1 << 20)
    assert found(prefix, slots, "a", PROMPT) == 0
    prefix.keep("a", None, PROMPT, 0)
    assert found(prefix, slots, "a", PROMPT) == 3 * BLOCK_TOKENS
    assert found(prefix, slots, "a", PROMPT[: 2 * BLOCK_TOKENS + 1]) == 2 * BLOCK_TOKENS
    assert found(prefix, slots, "a", [*PROMPT[:BLOCK_TOKENS], *PROMPT]) == BLOCK_TOKENS
    assert found(prefix, slots, "a", PROMPT[1:]) == 0
    assert (prefix.hits, prefix.misses) == (3, 2)


def test_the_last_token_is_always_computed() -> None:
    slots = cache()
    prefix = PrefixCache(slots, 1 << 20)
    prefix.keep("a", None, PROMPT[: 2 * BLOCK_TOKENS], 0)
    assert found(prefix, slots, "a", PROMPT[: 2 * BLOCK_TOKENS]) == BLOCK_TOKENS


def test_nothing_is_shared_between_companies_or_adapters() -> None:
    slots = cache()
    prefix = PrefixCache(slots, 1 << 20)
    keys = [None, AdapterKey("a", "x", "1"), AdapterKey("a", "x", "2"), AdapterKey("a", "y", "1")]
    for slot, key in enumerate(keys[:3]):
        prefix.keep("a", key, PROMPT, slot)
    for slot, key in enumerate(keys[:3]):
        assert prefix.fetch("a", key, PROMPT, 3) == 3 * BLOCK_TOKENS
        assert slots.layers[0].keys[3, 0, 0, 0] == slot + 1.0
    assert prefix.fetch("a", keys[3], PROMPT, 3) == 0
    assert prefix.fetch("b", None, PROMPT, 3) == 0


def test_the_budget_holds_and_the_least_recently_used_end_leaves() -> None:
    slots = cache()
    prefix = PrefixCache(slots, 4 * BLOCK_BYTES)
    prefix.keep("a", None, PROMPT, 0)
    assert prefix.bytes == 3 * BLOCK_BYTES
    assert found(prefix, slots, "a", PROMPT[: BLOCK_TOKENS + 1]) == BLOCK_TOKENS
    prefix.keep("b", None, PROMPT[: 2 * BLOCK_TOKENS], 1)
    assert prefix.bytes == 4 * BLOCK_BYTES
    assert found(prefix, slots, "a", PROMPT) == 2 * BLOCK_TOKENS
    assert found(prefix, slots, "b", PROMPT) == 2 * BLOCK_TOKENS


def test_no_budget_keeps_nothing() -> None:
    slots = cache()
    prefix = PrefixCache(slots, 0)
    prefix.keep("a", None, PROMPT, 0)
    assert found(prefix, slots, "a", PROMPT) == 0
    assert (prefix.bytes, prefix.hits, prefix.misses) == (0, 0, 0)
