"""LoRA inside the base model: each linear layer adds its tokens' adapters.

`rows_by` and `is_segment` choose how the adapters of one pass are applied. They follow these
measured microseconds of one linear layer of 1024 x 1024, which takes 850 itself, by the number of
distinct adapters: 32 tokens, rank 16, one CPU core in fp32, 24 layers in turn so that matrices
come from memory (2026-11):

              1    4   16   32
    kernel   40   64  157  307    reads each matrix once, copies nothing
    segments 36   77  266  521    two small matrix products for each adapter
    gather  450  401  396  404    batched products, over copies made when the batch changes

| device | tokens in a row that share an adapter | by       | because                             |
|--------|---------------------------------------|----------|-------------------------------------|
| CPU    | fewer than SEGMENT_TOKENS (decoding)  | kernel   | the table above, at every width     |
| CPU    | more (prompts)                        | segments | a matrix product is 2-7 times as    |
|        |                                       |          | fast per token as the kernel's rows |
| CUDA   | fewer                                 | gather   | three launches, whatever the number |
|        |                                       |          | of adapters; the copies are kept    |
| CUDA   | more                                  | segments | as on a CPU                         |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch

from cyrex.engine.adapter_file import Place
from cyrex.engine.adapters import Adapter, AdapterPool
from cyrex.engine.kernels import kernels

RowsBy = Literal["kernel", "gather"]

# From here on two matrix products, of about 5 us each to start, beat the kernel's 1 us a token.
SEGMENT_TOKENS = 16


def rows_by(device: torch.device) -> RowsBy:
    """The method for tokens that share their adapter with few neighbours."""
    return "kernel" if device.type == "cpu" else "gather"


def is_segment(tokens: int) -> bool:
    """Whether so many neighbouring tokens of one adapter are worth matrix products of their own."""
    return tokens >= SEGMENT_TOKENS


class CurrentPlan:
    """The plan of the running pass. One object for all layers of a model."""

    __slots__ = ("plan",)

    def __init__(self) -> None:
        self.plan: Plan | None = None


class LoraLinear(torch.nn.Module):
    """A linear layer of the base model, in any precision, plus the LoRA updates of its tokens."""

    def __init__(self, base: torch.nn.Linear, index: int, current: CurrentPlan) -> None:
        super().__init__()
        self.base: torch.nn.Linear = base
        self._index = index
        self._current = current
        # The base layer has no hooks, and calling it as a module costs a microsecond.
        self._base_forward = base.forward

    @property
    def weight(self) -> torch.Tensor:
        return self.base.weight

    @property
    def bias(self) -> torch.Tensor | None:
        return self.base.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self._base_forward(x)
        plan = self._current.plan
        if plan is not None:
            plan.add(self._index, x, y)
        return y


def install(model: Any, current: CurrentPlan) -> dict[str, Place]:
    """Replace every linear layer but the output's by a LoraLinear; returns them by name."""
    head = model.get_output_embeddings()
    places: dict[str, Place] = {}
    # 4-bit layers are subclasses of torch.nn.Linear too.
    found = [
        (name, part)
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and part is not head
    ]
    for name, part in found:
        parent, _, attribute = name.rpartition(".")
        layer = LoraLinear(part, len(places), current)
        setattr(model.get_submodule(parent), attribute, layer)
        places[name] = Place(len(places), part.in_features, part.out_features)
    return places


class Plan:
    """Which adapter each token of a pass has.

    Rows are the first tokens, each with an adapter of its own (or none). Segments follow: runs of
    many tokens with one adapter.
    """

    def __init__(
        self,
        pool: AdapterPool,
        rows: Sequence[int],
        segments: Sequence[tuple[int, int, Adapter]],
        by: RowsBy,
        threads: int = 1,
    ) -> None:
        """rows: one column of the pool's tables a token. segments: (start, end, adapter)."""
        self._rows = len(rows)
        self._segments = segments
        self._memory = pool.arena.memory
        columns = np.array(rows, dtype=np.int64)
        self._a_at, self._b_at = pool.a_at.take(columns, 1), pool.b_at.take(columns, 1)
        self._ranks: Any = pool.ranks.take(columns, 1)
        self._used = [bool(ranks.any()) for ranks in self._ranks]
        self._add_rows = self._by_kernel if by == "kernel" else self._by_gather
        self._pairs = _pairs(rows, pool.none)
        self._add_lora = kernels(threads).add_lora
        self._numbers = self._memory.numpy() if by == "kernel" else None
        self._gathered: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(self, place: int, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add the LoRA updates for x (..., in) to y (..., out)."""
        x = x.reshape(-1, x.shape[-1])
        y = y.view(-1, y.shape[-1])
        if self._used[place]:
            self._add_rows(place, x, y)
        for start, end, adapter in self._segments:
            views = adapter.views.get(place)
            if views is not None:
                _add_segment(x[start:end], y[start:end], *views)

    def _by_kernel(self, place: int, x: torch.Tensor, y: torch.Tensor) -> None:
        tables = self._numbers, self._a_at, self._b_at, self._ranks, place, self._pairs
        if y.dtype == torch.float32:
            self._add_lora(x.contiguous().numpy(), y.numpy(), *tables)
        else:
            wide = torch.zeros(self._rows, y.shape[1])
            self._add_lora(x[: self._rows].float().numpy(), wide.numpy(), *tables)
            y[: self._rows] += wide.to(y.dtype)

    def _by_gather(self, place: int, x: torch.Tensor, y: torch.Tensor) -> None:
        a, b = self._gathered.get(place) or self._gather(place, x.shape[1], y.shape[1])
        hidden = torch.bmm(a, x[: self._rows, :, None].to(a.dtype))
        y[: self._rows] += torch.bmm(hidden.transpose(1, 2), b).squeeze(1).to(y.dtype)

    def _gather(self, place: int, inputs: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of A (rows, rank, in) and B (rows, rank, out), padded to the highest rank."""
        device = self._memory.device
        ranks = torch.from_numpy(self._ranks[place]).to(device)
        highest = int(self._ranks[place].max())
        # Behind a lower rank lies another adapter's memory: it counts as zero.
        is_own = torch.arange(highest, device=device) < ranks[:, None]
        copies = []
        for table, width in ((self._a_at, inputs), (self._b_at, outputs)):
            starts = torch.from_numpy(table[place]).to(device)
            index = starts[:, None] + torch.arange(highest * width, device=device)
            whole = self._memory[index.clamp_(max=len(self._memory) - 1)]
            copies.append(whole.view(-1, highest, width).masked_fill_(~is_own[:, :, None], 0.0))
        self._gathered[place] = (copies[0], copies[1])
        return self._gathered[place]


def _pairs(columns: Sequence[int], none: int) -> Any:
    """(n, 2): rows of the same adapter in pairs, next to each other; an odd row is paired with -1.

    Rows of one adapter stand together, so that its matrices are still in the CPU's cache.
    """
    rows: dict[int, list[int]] = {}
    for row, column in enumerate(columns):
        if column != none:
            rows.setdefault(column, []).append(row)
    for own in rows.values():
        if len(own) % 2:
            own.append(-1)
    return np.array([row for own in rows.values() for row in own], np.int64).reshape(-1, 2)


def _add_segment(x: torch.Tensor, y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """x: (tokens, in), y: (tokens, out), a: (rank, in), b: (rank, out)."""
    if x.dtype == a.dtype:
        y.addmm_(x @ a.T, b)
    else:
        y += (x.to(a.dtype) @ a.T @ b).to(y.dtype)


class Planner:
    """Makes plans. The plan of a batch that only decodes is reused until the batch changes."""

    def __init__(self, pool: AdapterPool, device: torch.device, threads: int = 1) -> None:
        self._pool = pool
        self._threads = threads
        self._by = rows_by(device)
        self._last: tuple[tuple[int, ...], int] | None = None
        self._plan: Plan | None = None

    def plan(
        self, decoding: Sequence[Adapter | None], prompts: Sequence[tuple[int, Adapter | None]]
    ) -> Plan | None:
        """The plan for decoding rows (one token each), then prompts (tokens, adapter).

        None where no token has an adapter.
        """
        none = self._pool.none
        rows = [none if a is None else a.index for a in decoding]
        segments: list[tuple[int, int, Adapter]] = []
        for start, end, adapter in _runs(len(rows), prompts):
            if adapter is None:
                continue
            if is_segment(end - start):
                segments.append((start, end, adapter))
            else:
                rows += [none] * (start - len(rows)) + [adapter.index] * (end - start)
        if not segments and all(row == none for row in rows):
            return None
        # A column may be given to another adapter; then the pool's count of loads has changed.
        key = (tuple(rows), self._pool.loads)
        if segments or self._plan is None or key != self._last:
            plan = Plan(self._pool, rows, segments, self._by, self._threads)
            self._last, self._plan = (key, plan) if not segments else (None, None)
            return plan
        return self._plan


def _runs(
    start: int, prompts: Sequence[tuple[int, Adapter | None]]
) -> Iterator[tuple[int, int, Adapter | None]]:
    """(start, end, adapter), with neighbouring prompts of one adapter merged."""
    end = start
    for i, (tokens, adapter) in enumerate(prompts):
        end += tokens
        if i + 1 == len(prompts) or prompts[i + 1][1] is not adapter:
            yield start, end, adapter
            start = end
