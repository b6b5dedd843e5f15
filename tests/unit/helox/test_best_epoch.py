from __future__ import annotations

import pytest

from helox.best_epoch import MIN_EXAMPLES, best_epoch, should_stop


def epochs(*figures: tuple[float, float]) -> list[dict[str, float]]:
    return [{"holdout_exact": exact, "holdout_loss": loss} for exact, loss in figures]


def test_most_right_answers_win_then_the_least_loss() -> None:
    assert best_epoch(epochs((0.5, 1.0), (0.7, 2.0), (0.6, 0.5)), 20) == 2
    assert best_epoch(epochs((0.5, 1.0), (0.5, 0.8), (0.5, 0.9)), 20) == 2
    assert best_epoch(epochs((0.0, 1.0), (0.0, 1.0)), 20) == 1  # an equal one has learned no more


def test_a_hold_out_of_a_few_decides_nothing() -> None:
    rising = epochs((1.0, 0.1), (0.0, 1.0), (0.0, 2.0), (0.0, 3.0))
    assert best_epoch(rising, MIN_EXAMPLES - 1) == 4
    assert not should_stop(rising, MIN_EXAMPLES - 1)
    assert best_epoch([{"loss": 1.0}, {"loss": 0.5}], 0) == 2
    assert should_stop(rising, MIN_EXAMPLES)


@pytest.mark.parametrize(
    ("losses", "stops"),
    [
        ((1.0, 0.9, 0.8, 0.7), False),
        ((1.0, 1.1), False),
        ((1.0, 1.1, 1.2), True),
        ((1.0, 1.1, 1.05), False),
        ((1.0, 1.1, 0.9, 1.0), False),
        ((1.0, 0.5, 0.6, 0.7), True),
    ],
)
def test_two_rises_in_a_row_stop(losses: tuple[float, ...], stops: bool) -> None:
    assert should_stop(epochs(*((0.0, loss) for loss in losses)), 20) is stops


def test_more_right_answers_go_on_though_the_loss_rises() -> None:
    assert not should_stop(epochs((0.5, 1.0), (0.6, 1.1), (0.7, 1.2)), 20)
