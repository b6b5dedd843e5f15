"""`judge`: what promotes an adapter and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from cyrex.adapters.promotion import judge


def score(exact: float, loss: float | None = 1.0) -> dict[str, Any]:
    return {"exact_match": exact, "mean_loss": loss}


@pytest.mark.parametrize(
    ("mine", "theirs", "promoted", "word"),
    [
        (score(0.8), score(0.7), True, "beats"),
        (score(0.7), score(0.8), False, "loses to"),
        (score(0.8, 0.5), score(0.8, 0.6), True, "is not above"),
        (score(0.8, 0.6), score(0.8, 0.6), True, "is not above"),
        (score(0.8, 0.7), score(0.8, 0.6), False, "is above"),
        # A better loss does not outweigh fewer exact answers.
        (score(0.7, 0.1), score(0.8, 0.9), False, "loses to"),
        (score(0.0, 0.1), score(0.0, 0.2), True, "is not above"),
        # A loss that is no number is reported as null.
        (score(0.8, None), score(0.8, 0.6), False, "not finite"),
        (score(0.8, 0.6), score(0.8, None), True, "not finite"),
        (score(0.9, None), score(0.8, 0.6), True, "beats"),
    ],
)
@pytest.mark.parametrize("rival", ["base", "champion"])
def test_exact_answers_decide_and_loss_breaks_a_tie(
    mine: dict[str, Any], theirs: dict[str, Any], promoted: bool, word: str, rival: str
) -> None:
    evaluation = {"scores": {"candidate": mine, rival: theirs}}
    decided, reason = judge(evaluation, has_champion=rival == "champion")
    assert decided is promoted
    assert word in reason
    assert rival in reason or word == "not finite"


def test_a_champion_is_the_rival_even_when_the_base_is_better() -> None:
    scores = {"candidate": score(0.6), "champion": score(0.5), "base": score(0.9)}
    assert judge({"scores": scores}, has_champion=True)[0]
    assert not judge({"scores": scores}, has_champion=False)[0]


@pytest.mark.parametrize(
    "evaluation",
    [{}, {"scores": {}}, {"scores": None}, {"scores": {"base": score(0.5)}}],
)
def test_with_nothing_held_out_the_newest_serves(evaluation: dict[str, Any]) -> None:
    for rival in ("base", "champion"):
        promoted, reason = judge(evaluation, has_champion=rival == "champion")
        assert promoted
        assert "no hold-out" in reason
        assert rival in reason
