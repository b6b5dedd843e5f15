"""Out of memory is answered by smaller micro-batches, and more of them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from helox.errors import TrainingError


def fit_micro_batch(attempt: Callable[[int], None], size: int) -> int:
    """Calls `attempt(size)`, halving the size as long as memory runs out; returns what fitted.

    `attempt` must leave nothing behind when it fails.

    Raises:
        TrainingError: not even one example fits.
    """
    while True:
        try:
            attempt(size)
            return size
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise TrainingError(
                    "out_of_memory",
                    "not even the longest example alone fits into memory: lower config.max_length, "
                    "or set config.gradient_checkpointing or use_qlora",
                    field="config.max_length",
                ) from error
        # Outside the handler: the exception holds the frames that hold the tensors.
        size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
