"""The interface between the trainer and a training method, and how a method is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from helox.base import Base
from helox.data import Dataset
from helox.mask import Example
from helox.methods import METHODS
from helox.pack import Batch
from helox.plan import Plan
from helox.spec import TrainingSpec

if TYPE_CHECKING:
    import torch

    from helox.model import Learner


class Method(Protocol):
    """Data → batches → loss. Whatever is random depends on seed, epoch and step alone."""

    data: Dataset
    plan: Plan

    def describe(self) -> dict[str, Any]:
        """What the method chose by itself, for the receipt."""
        ...

    def steps(self, epoch: int, done: int) -> Iterator[list[Example]]:
        """The examples of each optimiser step of an epoch, without the first `done` steps."""
        ...

    def batches(self, examples: Sequence[Example], size: int, *, packing: bool) -> list[Batch]:
        """A step's examples as micro-batches of at most `size` examples."""
        ...

    def weight(self, batch: Batch) -> int:
        """How much of the step's mean a batch is: its trained tokens, or its pairs."""
        ...

    def loss_sum(self, learner: Learner, batch: Batch) -> torch.Tensor:
        """The loss of a batch, summed over its weight; a scalar with a gradient."""
        ...

    def evaluate(
        self, learner: Learner, *, packing: bool, before_batch: Callable[[], None]
    ) -> dict[str, float]:
        """Figures on the hold-out, `holdout_loss` among them; none without a hold-out.

        `before_batch` may raise to leave early.
        """
        ...


def load_method(spec: TrainingSpec, base: Base) -> Method:
    """The method that the spec names, with its data read and checked.

    Raises:
        UserError: the data cannot be used.
    """
    module, _, name = METHODS[spec.config.method].partition(":")
    return cast("Method", getattr(import_module(module), name)(spec, base))
