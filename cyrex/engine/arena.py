"""A memory pool for all adapters: allocated once, handed out in pieces of any size."""

from __future__ import annotations

from bisect import insort

import torch

# In numbers: one cache line of fp32, so that no two adapters share a line.
ALIGNMENT = 16


class Arena:
    """First fit over a sorted list of holes. Offsets and sizes are in numbers, not bytes."""

    def __init__(self, size_bytes: int, dtype: torch.dtype, device: torch.device) -> None:
        """On Linux a CPU's arena takes address space only; pages are allocated when written."""
        self.size = max(size_bytes // dtype.itemsize // ALIGNMENT, 1) * ALIGNMENT
        self.memory = torch.empty(self.size, dtype=dtype, device=device)
        self._holes: list[tuple[int, int]] = [(0, self.size)]  # (offset, size) by offset
        # End of the memory that was written to; a GPU's memory is all allocated at the start.
        self._touched = 0 if device.type == "cpu" else self.size

    @property
    def itemsize(self) -> int:
        return self.memory.dtype.itemsize

    @property
    def used_bytes(self) -> int:
        return (self.size - sum(size for _, size in self._holes)) * self.itemsize

    def take(self, size: int) -> int | None:
        """The offset of a piece of `size` numbers, or None where no hole is large enough."""
        assert size > 0 and size % ALIGNMENT == 0
        for i, (offset, hole) in enumerate(self._holes):
            if hole >= size:
                self._holes[i : i + 1] = [(offset + size, hole - size)] if hole > size else []
                return offset
        return None

    def touch(self, size: int) -> None:
        """Allocate the pages of the next `size` numbers behind all pieces, by writing to them.

        A first write costs more than the copy that follows; this does it ahead of time.
        """
        offset, hole = self._holes[-1] if self._holes else (self.size, 0)
        if offset + hole == self.size:
            start, end = max(offset, self._touched), min(offset + size, self.size)
            self.memory[start : max(start, end)].zero_()
            self._touched = max(self._touched, end)

    def give_back(self, offset: int, size: int) -> None:
        """Free a piece that `take` returned, and merge it with the holes beside it."""
        insort(self._holes, (offset, size))
        merged: list[tuple[int, int]] = []
        for start, length in self._holes:
            if merged and sum(merged[-1]) >= start:
                assert sum(merged[-1]) == start, "a piece was given back twice"
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((start, length))
        self._holes = merged


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
