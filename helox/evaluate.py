"""Loss and accuracy on the held-out examples, in the precision of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from helox.mask import Example
from helox.memory import fit_micro_batch
from helox.model import Learner
from helox.pack import layout

EVALUATION_TOKENS = {"cpu": 1024, "cuda": 16_384}  # a forward pass; no activations are kept


@dataclass(frozen=True)
class Evaluation:
    """Means over the answers' tokens; `exact` is the share of examples right in every token.

    Right is what is the most likely token behind the wanted ones before it: an example that is
    right in all of them is what greedy decoding would answer.
    """

    loss: float
    token_accuracy: float
    exact: float
    tokens: int


def evaluate(
    learner: Learner,
    examples: Sequence[Example],
    *,
    packing: bool,
    pack_length: int | None,
    before_batch: Callable[[], None],
) -> Evaluation:
    """`before_batch` may raise to leave early."""
    longest_first = sorted(examples, key=lambda example: -len(example.ids))
    tokens = EVALUATION_TOKENS[learner.device.type]
    size = max(1, tokens // len(longest_first[0].ids))
    loss_sum = 0.0
    right = exact = total = start = 0

    def attempt(size: int) -> None:
        nonlocal loss_sum, right, exact, total
        batch = layout(longest_first[start : start + size], packing, pack_length)
        predicted = learner.predict(batch)
        loss_sum += predicted.loss_sum.item()
        right += int(predicted.right_N.sum().item())
        by_example = torch.split(predicted.right_N, list(batch.targets_of_example))
        exact += sum(bool(part.all()) for part in by_example)
        total += len(batch.targets_N)

    learner.model.eval()
    try:
        with torch.no_grad():
            while start < len(longest_first):
                before_batch()
                # The examples get shorter, so more of them fit as the evaluation goes on.
                size = max(size, tokens // len(longest_first[start].ids))
                fitted = fit_micro_batch(attempt, size)
                if fitted < size:
                    tokens = fitted * len(longest_first[start].ids)
                    size = fitted
                start += fitted
    finally:
        learner.model.train()
    return Evaluation(loss_sum / total, right / total, exact / len(examples), total)
