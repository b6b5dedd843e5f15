"""How right an answer is, by the metric that the expected answers choose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cyrex.adapters.metrics import SHORT_CHARACTERS, metric_of, score_calls, score_text


@pytest.mark.parametrize(
    ("expected", "metric"),
    [
        (["yes", "no", "yes", " no"], "label"),
        (["Paris", "Rome", "Oslo"], "exact"),
        (['{"a": 1}', '{"a": 2, "b": []}'], "json_fields"),
        (['{"a": 1}', "none"], "exact"),
        (["[1]", "[2]"], "exact"),
        (["x" * (SHORT_CHARACTERS + 1), "yes"], "loss"),
    ],
)
def test_the_answers_choose_the_metric(expected: list[str], metric: str) -> None:
    assert metric_of(expected) == metric


def test_calls_choose_theirs() -> None:
    assert metric_of(["{}"], are_calls=True) == "tool_call"


@pytest.mark.parametrize(
    ("expected", "given", "score"),
    [
        ({"a": 1, "b": "x"}, {"b": "x", "a": 1}, 1.0),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "y"}, 0.5),
        ({"a": 1, "b": "x"}, {"a": 1}, 2 / 3),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, 0.5),
        ({"a": True}, {"a": 1}, 0.0),
        ({}, {}, 1.0),
        ({"a": 1}, [1], 0.0),
    ],
)
def test_fields_are_scored_by_f1(expected: Any, given: Any, score: float) -> None:
    found = score_text("json_fields", json.dumps(expected), json.dumps(given))
    assert found == pytest.approx(score)


def test_text_that_is_no_json_has_no_fields() -> None:
    assert score_text("json_fields", '{"a": 1}', '{"a": 1') == 0.0
    assert score_text("json_fields", '{"a": 1}', None) == 0.0


def test_white_space_around_a_label_does_not_count() -> None:
    assert score_text("label", "good", " good\n") == 1.0
    assert score_text("label", "good", "Good") == 0.0


@pytest.mark.parametrize(
    ("expected", "given", "score"),
    [
        ([("find", {"id": 1})], [("find", {"id": 1})], 1.0),
        ([("find", {"id": 1})], [("find", {"id": 1.0})], 1.0),
        ([("find", {"id": 1})], [("find", {"id": True})], 0.0),
        ([("find", {"id": 1, "q": "x"})], [("find", {"id": 1, "q": "y"})], 0.5),
        ([("find", {"id": 1})], [("find", {"id": 1, "more": 2})], 0.5),
        ([("find", {})], [("find", {})], 1.0),
        ([("find", {})], [("drop", {})], 0.0),
        ([("a", {}), ("b", {})], [("a", {})], 0.5),
        ([("a", {})], None, 0.0),
    ],
)
def test_calls_are_scored_by_tool_and_arguments(
    expected: list[tuple[str, Any]], given: list[tuple[str, Any]] | None, score: float
) -> None:
    assert score_calls(expected, given) == pytest.approx(score)
