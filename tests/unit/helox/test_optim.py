from __future__ import annotations

import pytest

from helox.optim import learning_rate_at
from helox.plan import Plan


def rates(warmup_steps: int, lr_scheduler: str = "cosine") -> list[float]:
    plan = Plan(
        learning_rate=1.0,
        num_epochs=1,
        batch_size=1,
        step_size=1,
        steps_per_epoch=10,
        warmup_steps=warmup_steps,
        may_stop_early=False,
    )
    return [learning_rate_at(step, plan, lr_scheduler) for step in range(10)]


def test_warm_up_then_cosine() -> None:
    values = rates(warmup_steps=2)
    assert values[:3] == [0.5, 1.0, 1.0]
    assert values[6] == pytest.approx(0.5)
    assert values[2:] == sorted(values[2:], reverse=True) and values[-1] > 0


def test_linear_and_constant() -> None:
    assert rates(lr_scheduler="linear", warmup_steps=0) == pytest.approx(
        [1 - s / 10 for s in range(10)]
    )
    assert rates(lr_scheduler="constant", warmup_steps=0) == [1.0] * 10


def test_a_run_that_is_all_warm_up() -> None:
    assert rates(warmup_steps=10)[-1] == 1.0
