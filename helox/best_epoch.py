"""Which epoch's adapter is published, and when more epochs are in vain.

Both are functions of the hold-out figures alone, so that a run that goes on after a kill decides
the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Figures = dict[str, float]

MIN_EXAMPLES = 8  # of the hold-out: fewer say less than the schedule, whose end is published
RISES_TO_STOP = 2


def best_epoch(epochs: Sequence[Figures], held_out: int) -> int:
    """The epoch, from 1, with most answers right in every token; of equals, with the least loss.

    held_out: examples in the hold-out. With fewer than MIN_EXAMPLES it is the last epoch.
    """
    if held_out < MIN_EXAMPLES:
        return len(epochs)
    return max(range(len(epochs)), key=lambda i: _rank(epochs[i])) + 1


def should_stop(epochs: Sequence[Figures], held_out: int) -> bool:
    """Whether the hold-out loss rose in each of the last epochs, and no more answers are right."""
    if held_out < MIN_EXAMPLES or len(epochs) <= RISES_TO_STOP:
        return False
    losses = [epoch["holdout_loss"] for epoch in epochs[-RISES_TO_STOP - 1 :]]
    rose = all(after > before for before, after in pairwise(losses))
    return rose and len(epochs) - best_epoch(epochs, held_out) >= RISES_TO_STOP


def _rank(figures: Figures) -> tuple[float, float]:
    return figures.get("holdout_exact", 0.0), -figures["holdout_loss"]
