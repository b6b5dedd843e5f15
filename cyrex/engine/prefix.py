"""The prefix cache: keys and values of prompts' first tokens, so that they are computed once.

Blocks are keyed by (company, adapter's SHA-256, tokens): a company hits its own prompts only.
"""

from __future__ import annotations

from collections import OrderedDict

import torch

from cyrex.engine.kv import SlotCache
from cyrex.engine.request import AdapterKey

# Tokens of a block: only whole blocks are cached.
BLOCK_TOKENS = 16

Root = tuple[str, AdapterKey | None]
# A block's key: the serial number of the block before it (or the root), and its own tokens.
Name = tuple[int | Root, tuple[int, ...]]


class PrefixCache:
    """Cached blocks under a byte budget, evicted by LRU. For the loop's thread alone."""

    def __init__(self, cache: SlotCache, max_bytes: int) -> None:
        self._cache = cache
        self._max_bytes = max_bytes
        # The least recently used first; using a block uses all blocks before it.
        self._blocks: OrderedDict[Name, tuple[int, list[torch.Tensor]]] = OrderedDict()
        self._serial = 0
        self.bytes, self.hits, self.misses = 0, 0, 0

    def unknown_beginning(
        self, company: str, key: AdapterKey | None, prompt: list[int]
    ) -> Name | None:
        """The key of the prompt's first block if the block is cacheable and not cached yet."""
        if not self._max_bytes or len(prompt) <= BLOCK_TOKENS:
            return None
        name = ((company, key), tuple(prompt[:BLOCK_TOKENS]))
        return None if name in self._blocks else name

    def fetch(self, company: str, key: AdapterKey | None, prompt: list[int], slot: int) -> int:
        """Copy the longest cached prefix of `prompt` into `slot`; returns its tokens' number.

        The last token of a prompt is always computed: its logits give the answer's first token.
        """
        if not self._max_bytes:
            return 0
        before: int | Root = (company, key)
        found: list[Name] = []
        for start in range(0, len(prompt) - BLOCK_TOKENS, BLOCK_TOKENS):
            name = (before, tuple(prompt[start : start + BLOCK_TOKENS]))
            block = self._blocks.get(name)
            if block is None:
                break
            self._cache.write(slot, start, block[1])
            before = block[0]
            found.append(name)
        # In reverse, so that no block is evicted before the blocks that follow it.
        for name in reversed(found):
            self._blocks.move_to_end(name)
        if found:
            self.hits += 1
        else:
            self.misses += 1
        return len(found) * BLOCK_TOKENS

    def keep(self, company: str, key: AdapterKey | None, prompt: list[int], slot: int) -> None:
        """Cache the whole blocks of a prompt that has been computed in `slot`."""
        if not self._max_bytes:
            return
        before: int | Root = (company, key)
        names: list[Name] = []
        for start in range(0, len(prompt) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            name = (before, tuple(prompt[start : start + BLOCK_TOKENS]))
            block = self._blocks.get(name)
            if block is None:
                columns = self._cache.read(slot, start, start + BLOCK_TOKENS)
                self._serial += 1
                block = self._blocks[name] = (self._serial, columns)
                self.bytes += _size(columns)
            before = block[0]
            names.append(name)
        for name in reversed(names):
            self._blocks.move_to_end(name)
        while self.bytes > self._max_bytes:
            _, (_, columns) = self._blocks.popitem(last=False)
            self.bytes -= _size(columns)


def _size(columns: list[torch.Tensor]) -> int:
    return sum(part.nbytes for part in columns)
