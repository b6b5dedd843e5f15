"""`judge`: what evidence replaces a champion, and what does not."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest

from cyrex.adapters.gate import MAX_CHANCE, MIN_EXAMPLES, chance, judge


def arm(scores: list[float], loss: float | None = 1.0) -> dict[str, Any]:
    return {"scores": scores, "mean_loss": loss}


def compare(mine: dict[str, Any], theirs: dict[str, Any], **more: Any) -> Any:
    evaluation = {"metric": "exact", "scores": {"candidate": mine, "champion": theirs}, **more}
    return judge(evaluation, has_champion=True)


def test_chance_of_equal_sizes_is_the_binomial_mid_p() -> None:
    # 3 better, 1 worse: P(4 of 4) + P(3 of 4) / 2.
    assert chance([1, 1, 1, -1, 0, 0]) == pytest.approx(1 / 16 + 4 / 32)


def test_chance_of_other_sizes_counts_all_sign_patterns() -> None:
    differences = [0.5, 0.25, -0.125, 1.0]
    seen = sum(differences)
    sums = [sum(s * abs(d) for s, d in zip(sign, differences, strict=True))
            for sign in product((1, -1), repeat=4)]  # fmt: skip
    wanted = sum((x > seen) + (x == seen) / 2 for x in sums) / 16
    assert chance(differences) == pytest.approx(wanted)


def test_chance_of_many_differences_is_drawn_the_same_each_time() -> None:
    differences = [math.sin(i) + 0.1 for i in range(60)]
    assert chance(differences) == chance(differences)
    assert chance(differences) + chance([-d for d in differences]) == pytest.approx(1, abs=0.05)


def test_chance_is_one_where_nothing_differs() -> None:
    assert chance([0.0, 0.0]) == chance([]) == 1.0


def test_clear_evidence_promotes_and_says_its_numbers() -> None:
    verdict = compare(arm([1.0] * 20), arm([1.0] * 12 + [0.0] * 8))
    assert verdict.promote
    assert verdict.evidence["better_on"] == 8
    assert verdict.evidence["chance"] <= MAX_CHANCE
    assert "1.000 against the champion's 0.600 on 20 held-out examples" in verdict.reason


@pytest.mark.parametrize("mine", [[1.0] * 15 + [0.0] * 5, [1.0] * 16 + [0.0] * 4])
def test_without_evidence_the_champion_stays(mine: list[float]) -> None:
    verdict = compare(arm(mine), arm([1.0] * 15 + [0.0] * 5))
    assert not verdict.promote
    assert "no evidence" in verdict.reason


def test_few_examples_are_no_evidence() -> None:
    few = MIN_EXAMPLES - 1
    verdict = compare(arm([1.0] * few), arm([0.0] * few))
    assert not verdict.promote
    assert "fewer than" in verdict.reason


def test_a_gain_on_new_examples_does_not_pay_for_a_loss_on_old_ones() -> None:
    # 30 old ones of which it loses 6; 30 new ones of which it gains all.
    mine, theirs = [0.0] * 6 + [1.0] * 54, [1.0] * 30 + [0.0] * 30
    assert compare(arm(mine), arm(theirs)).promote
    verdict = compare(arm(mine), arm(theirs), old=[True] * 30 + [False] * 30)
    assert not verdict.promote
    assert "older" in verdict.reason


def test_a_loss_that_is_not_finite_is_refused() -> None:
    assert not compare(arm([1.0] * 20, None), arm([0.0] * 20)).promote


def test_always_promotes_whatever_the_numbers_say() -> None:
    scores = {"candidate": arm([0.0] * 20), "champion": arm([1.0] * 20)}
    verdict = judge({"scores": scores}, has_champion=True, promote="always")
    assert verdict.promote
    assert verdict.evidence["worse_on"] == 20


def test_a_champion_that_was_scored_stays_where_nothing_is_held_out() -> None:
    assert judge({"scores": {}}, has_champion=True).promote
    assert not judge({"scores": {}, "champion_was_scored": True}, has_champion=True).promote


@pytest.mark.parametrize(
    ("mine", "base", "promoted"),
    [
        (arm([1.0, 0.0]), arm([0.0, 0.0]), True),
        (arm([0.0, 0.0]), arm([1.0, 0.0]), False),
        (arm([0.0], 0.5), arm([0.0], 0.6), True),
        (arm([0.0], 0.7), arm([0.0], 0.6), False),
        (arm([0.0], None), arm([0.0], 0.6), False),
        (arm([0.0], 0.7), arm([0.0], None), True),
    ],
)
def test_a_first_adapter_must_not_be_worse_than_the_base(
    mine: dict[str, Any], base: dict[str, Any], promoted: bool
) -> None:
    verdict = judge({"scores": {"candidate": mine, "base": base}}, has_champion=False)
    assert verdict.promote is promoted


def test_a_champion_of_other_weights_is_judged_by_the_base() -> None:
    scores = {"candidate": arm([1.0]), "base": arm([0.0])}
    verdict = judge({"scores": scores}, has_champion=True)
    assert (verdict.promote, verdict.evidence["rival"]) == (True, "base")
