from __future__ import annotations

from cyrex.evaluations import sentence


def test_the_scores_are_told_in_one_sentence() -> None:
    scores = {"base": {"exact_match": 0.125}, "candidate": {"exact_match": 1.0}}
    said = sentence({"examples": 8, "scores": scores})
    assert said == "exact on 8 held-out examples: base 12.5%, candidate 100.0%"


def test_nothing_held_out_is_said_too() -> None:
    assert "nothing was held out" in sentence({"examples": 0, "scores": {}})
