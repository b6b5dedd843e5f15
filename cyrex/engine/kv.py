"""The KV cache: one slot for each running sequence, allocated once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from cyrex.engine.kernels import kernels

# The slot of a sequence that has none; keys and values computed for it are not stored.
NO_SLOT = -1


@dataclass(frozen=True, slots=True)
class Segment:
    """A prompt chunk: tokens `start` to `end` (exclusive) of the pass, for `slot`.

    past: tokens of the sequence that the slot holds already.
    """

    start: int
    end: int
    past: int
    slot: int


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values: (slots, kv_heads, capacity, width).

    Columns behind a sequence's length hold data of earlier sequences, and are never read.
    """

    is_sliding = False

    def __init__(self, slots: int, capacity: int) -> None:
        super().__init__()
        self.slots, self.capacity = slots, capacity

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate, in the shape of the first tokens' states.

        On Linux this takes address space only; pages are allocated when they are written.
        """
        self.dtype, self.device = key_states.dtype, key_states.device
        for name, states in (("keys", key_states), ("values", value_states)):
            heads, width = states.shape[1], states.shape[3]
            setattr(self, name, states.new_empty(self.slots, heads, self.capacity, width))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new states unchanged: `store` keeps them, as it knows their slots."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return key_states, value_states

    def store(
        self, key_states: torch.Tensor, value_states: torch.Tensor, segments: Sequence[Segment]
    ) -> None:
        """Write the states of a pass's prompt chunks: (1, kv_heads, tokens, width)."""
        for s in segments:
            if s.slot != NO_SLOT:
                stop = s.past + s.end - s.start
                self.keys[s.slot, :, s.past : stop] = key_states[0, :, s.start : s.end]
                self.values[s.slot, :, s.past : stop] = value_states[0, :, s.start : s.end]

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self.capacity

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0


class SlotCache(Cache):  # type: ignore[misc]
    """Every layer's slots, for any Hugging Face model that takes a `Cache`."""

    def __init__(self, layers: int, slots: int, capacity: int, threads: int = 1) -> None:
        super().__init__(layers=[SlotLayer(slots, capacity) for _ in range(layers)])
        self.capacity = capacity
        self.attend = kernels(threads).attend
        self._free = list(reversed(range(slots)))
        self._slots = slots

    @property
    def free_slots(self) -> int:
        return len(self._free)

    @property
    def is_empty(self) -> bool:
        return len(self._free) == self._slots

    def take(self) -> int:
        """Allocate a free slot. Raises IndexError if there is none."""
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        assert 0 <= slot < self._slots and slot not in self._free
        self._free.append(slot)

    def read(self, slot: int, start: int, end: int) -> list[torch.Tensor]:
        """Copies of a slot's columns `start` to `end`: keys, then values, layer by layer."""
        return [
            buffer[slot, :, start:end].clone()
            for layer in self.layers
            for buffer in (layer.keys, layer.values)
        ]

    def write(self, slot: int, start: int, columns: list[torch.Tensor]) -> None:
        """Write columns that `read` returned, from `start` on."""
        buffers = [buffer for layer in self.layers for buffer in (layer.keys, layer.values)]
        for buffer, part in zip(buffers, columns, strict=True):
            buffer[slot, :, start : start + part.shape[1]] = part
