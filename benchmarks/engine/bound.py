"""The machine's bound of a step: a roofline of arithmetic and memory.

A linear layer costs its multiplications at the machine's matmul rate or the reading of its weights
at its copy bandwidth, whichever is longer; so do the two thin matrices of LoRA, which are read once
for every adapter in the step. Attention, norms and sampling are not counted, so no engine reaches
the bound; the benchmark compares the share reached with adapters and without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.engine.arms import BATCH, Clock
from benchmarks.engine.models import RANK, VOCABULARY, Shape

MATMUL_SIZE = 1024
REPEATS = 15
BYTES = 4


@dataclass(frozen=True)
class Machine:
    """flops: fp32 operations a second of one thread. bandwidth: bytes a second, read or written."""

    flops: float
    bandwidth: float

    def seconds(self, flops: float, read: float) -> float:
        return max(flops / self.flops, read / self.bandwidth)


def measure(shape: Shape) -> Machine:
    """Measure the machine; the best of some tries counts. The copied buffer is as large as the
    weights that a step of `shape` reads, as small ones may stay in a cache."""
    square = torch.randn(MATMUL_SIZE, MATMUL_SIZE)
    matmul = _fastest(lambda: torch.mm(square, square))
    numbers = (_base_bytes(shape) + BATCH * shape.adapter_bytes) // BYTES
    source = torch.randn(numbers)
    target = torch.empty_like(source)
    copy = _fastest(lambda: target.copy_(source))
    return Machine(2 * MATMUL_SIZE**3 / matmul, 2 * BYTES * numbers / copy)


def step_seconds(shape: Shape, machine: Machine, distinct: int) -> float:
    """The bound of one decode step of a full batch over `distinct` adapters."""
    linears = list(shape.linears.values()) * shape.layers
    base = sum(
        machine.seconds(2 * BATCH * i * o, BYTES * i * o)
        for i, o in [*linears, (shape.hidden, VOCABULARY)]
    )
    if not distinct:
        return base
    return base + sum(
        machine.seconds(2 * BATCH * RANK * (i + o), BYTES * distinct * RANK * (i + o))
        for i, o in linears
    )


def _base_bytes(shape: Shape) -> int:
    layer = sum(i * o for i, o in shape.linears.values())
    return BYTES * (shape.layers * layer + VOCABULARY * shape.hidden)


def _fastest(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(REPEATS):
        started = Clock.now()
        work()
        taken.append(Clock.now() - started)
    return min(taken)
