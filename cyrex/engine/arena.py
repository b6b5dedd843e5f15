"""One block of memory for all adapters: allocated once, handed out in pieces of any size."""

from __future__ import annotations

import contextlib
import mmap
from bisect import insort

import torch

# Numbers; a cache line of fp32, so that no two adapters share one.
ALIGNMENT = 16


class Arena:
    """First fit over a sorted list of holes. Offsets and sizes are in numbers, not bytes."""

    def __init__(self, size_bytes: int, dtype: torch.dtype, device: torch.device) -> None:
        """On Linux a CPU's arena costs addresses, not memory, until it is written to."""
        self.size = max(size_bytes // dtype.itemsize // ALIGNMENT, 1) * ALIGNMENT
        if device.type == "cpu":
            self.memory = torch.frombuffer(_large_pages(self.size * dtype.itemsize), dtype=dtype)
        else:
            self.memory = torch.empty(self.size, dtype=dtype, device=device)
        self._holes: list[tuple[int, int]] = [(0, self.size)]  # (offset, size) by offset

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

    def give_back(self, offset: int, size: int) -> None:
        """A piece that `take` returned; holes beside it grow together."""
        insort(self._holes, (offset, size))
        merged: list[tuple[int, int]] = []
        for start, length in self._holes:
            if merged and sum(merged[-1]) >= start:
                assert sum(merged[-1]) == start, "a piece was given back twice"
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((start, length))
        self._holes = merged


def _large_pages(size_bytes: int) -> mmap.mmap:
    """Memory in pages of 2 MB where the system has them.

    Adapters are written once and read without end: small pages cost half of the writing, and a
    tenth of the reading.
    """
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # A kernel without them.
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
