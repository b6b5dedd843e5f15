"""Keys and values of a batch, in buffers that grow by steps instead of at every token.

All rows end in the same column; a shorter row has unused columns on its left, which the
attention mask hides. Shapes: (rows, heads, columns, head_dim).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

# Room added when a buffer is full: one copy of the buffer every so many tokens.
GROWTH_COLUMNS = 64


class BufferLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values, in the first `length` columns of preallocated buffers."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make empty buffers of the shape that the first tokens show."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_empty(*key_states.shape[:2], 0, key_states.shape[3])
        self.values = value_states.new_empty(*value_states.shape[:2], 0, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns; returns views of all columns so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.keys.shape[2]:
            self.keys = _widened(self.keys, self.length, end + GROWTH_COLUMNS)
            self.values = _widened(self.values, self.length, end + GROWTH_COLUMNS)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0


def _widened(buffer: torch.Tensor, length: int, columns: int) -> torch.Tensor:
    rows, heads, _, width = buffer.shape
    wide = buffer.new_empty(rows, heads, columns, width)
    wide[:, :, :length] = buffer[:, :, :length]
    return wide


class BatchCache(Cache):  # type: ignore[misc]
    """Every layer's buffers, for any Hugging Face model that takes a `Cache`."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=BufferLayer)

    @property
    def length(self) -> int:
        """Columns in use."""
        return self.layers[0].length if self.layers else 0


def joined(parts: Sequence[tuple[BatchCache, torch.Tensor | None, int]]) -> BatchCache:
    """One cache of rows from several.

    Each part is (cache, rows to take or None for all, columns to drop on the left). Rows come in
    the order of the parts; all end in the same column.
    """
    result = BatchCache()
    columns = max(cache.length - dropped for cache, _, dropped in parts)
    for index in range(len(parts[0][0].layers)):
        layer = BufferLayer()
        layers = [(cache.layers[index], rows, dropped) for cache, rows, dropped in parts]
        layer.keys = _stacked([(la.keys, la.length, r, d) for la, r, d in layers], columns)
        layer.values = _stacked([(la.values, la.length, r, d) for la, r, d in layers], columns)
        layer.dtype, layer.device = layer.keys.dtype, layer.keys.device
        layer.length = columns
        layer.is_initialized = True
        result.layers.append(layer)
    return result


def _stacked(
    parts: Sequence[tuple[torch.Tensor, int, torch.Tensor | None, int]], columns: int
) -> torch.Tensor:
    """Right-aligned copies, one under the other, with room to grow."""
    rows = sum(len(chosen) if chosen is not None else len(b) for b, _, chosen, _ in parts)
    first = parts[0][0]
    buffer = first.new_zeros(rows, first.shape[1], columns + GROWTH_COLUMNS, first.shape[3])
    top = 0
    for source, length, chosen, dropped in parts:
        used = source[:, :, dropped:length]
        used = used if chosen is None else used.index_select(0, chosen)
        bottom = top + len(used)
        # Hidden columns stay zero: attention multiplies them by a weight of exactly zero.
        buffer[top:bottom, :, columns - used.shape[2] : columns] = used
        top = bottom
    return buffer
