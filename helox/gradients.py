"""The gradient of one optimiser step, in as many micro-batches as memory asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from helox.checkpoint import Counters
from helox.mask import Example
from helox.memory import fit_micro_batch
from helox.methods.method import Method
from helox.model import Learner
from helox.progress import Reporter


@dataclass(frozen=True)
class StepFigures:
    """The loss summed over a step's examples, its weight (trained tokens), and all its tokens."""

    loss_sum: float
    weight: int
    tokens: int


class Gradients:
    """Leaves the mean gradient of a step's examples in the adapter's weights."""

    def __init__(
        self,
        learner: Learner,
        method: Method,
        optimizer: torch.optim.Optimizer,
        reporter: Reporter,
        *,
        packing: bool,
    ) -> None:
        self._learner = learner
        self._method = method
        self._optimizer = optimizer
        self._reporter = reporter
        self._packing = packing

    def compute(self, examples: Sequence[Example], counters: Counters) -> StepFigures:
        """Where memory runs out, `counters.micro_batch` halves and stays so."""
        figures = StepFigures(0.0, 0, 0)

        def attempt(size: int) -> None:
            nonlocal figures
            self._optimizer.zero_grad(set_to_none=True)
            figures = self._accumulate(examples, size)

        fitted = fit_micro_batch(attempt, counters.micro_batch)
        if fitted < counters.micro_batch:
            counters.micro_batch = fitted
            self._reporter.event("memory.reduced", micro_batch=fitted)
        return figures

    def try_out(self, examples: Sequence[Example], counters: Counters) -> None:
        """Finds a micro-batch that fits into memory; leaves no gradient and no random draw."""
        with torch.random.fork_rng():
            self.compute(examples, counters)
        self._optimizer.zero_grad(set_to_none=True)

    def _accumulate(self, examples: Sequence[Example], size: int) -> StepFigures:
        batches = self._method.batches(examples, size, packing=self._packing)
        weight = sum(self._method.weight(batch) for batch in batches)
        loss_sum = 0.0
        for batch in batches:
            loss = self._method.loss_sum(self._learner, batch)
            torch.autograd.backward(loss / weight)
            loss_sum += loss.item()
        return StepFigures(loss_sum, weight, sum(batch.tokens for batch in batches))
