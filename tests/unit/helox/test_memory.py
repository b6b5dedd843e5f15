from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from helox.errors import TrainingError
from helox.memory import fit_micro_batch


def attempt_that_fits(limit: int, tried: list[int]) -> Callable[[int], None]:
    def attempt(size: int) -> None:
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError(f"{size} is too much")

    return attempt


def test_the_size_halves_until_it_fits() -> None:
    tried: list[int] = []
    assert fit_micro_batch(attempt_that_fits(3, tried), 12) == 3
    assert tried == [12, 6, 3]


def test_when_one_example_does_not_fit_the_way_out_is_named() -> None:
    tried: list[int] = []
    with pytest.raises(TrainingError, match="lower config") as caught:
        fit_micro_batch(attempt_that_fits(0, tried), 5)
    assert tried == [5, 2, 1] and caught.value.code == "out_of_memory"


def test_other_errors_pass() -> None:
    def attempt(size: int) -> None:
        raise RuntimeError("shape")

    with pytest.raises(RuntimeError, match="shape"):
        fit_micro_batch(attempt, 4)
