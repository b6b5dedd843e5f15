"""How right an answer is: a number from 0 to 1, by a metric that the expected answers choose.

| metric      | the expected answers are             | score of an answer                          |
|-------------|--------------------------------------|---------------------------------------------|
| tool_call   | calls of tools                       | 0 for another tool, else share of arguments |
| json_fields | JSON objects                         | F1 over leaves (path and value)             |
| label       | short, each given twice on average   | 1 when equal                                |
| exact       | short                                | 1 when equal                                |
| loss        | longer: free text                    | minus nats a token, from the model          |

Surrounding white space never counts, and an answer that the model did not end by itself is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

Metric = Literal["tool_call", "json_fields", "label", "exact", "loss"]

# Longer texts than this can be right in other words.
SHORT_CHARACTERS = 80
LABEL_REPEATS = 2.0


def metric_of(expected: Sequence[str], are_calls: bool = False) -> Metric:
    """The metric for a hold-out with these expected answers. are_calls: all of them call a tool."""
    if are_calls:
        return "tool_call"
    texts = [text.strip() for text in expected]
    if texts and all(isinstance(_json_of(text), dict) for text in texts):
        return "json_fields"
    if all(len(text) <= SHORT_CHARACTERS for text in texts):
        return "label" if len(texts) >= LABEL_REPEATS * len(set(texts)) else "exact"
    return "loss"


def score_text(metric: Metric, expected: str, given: str | None) -> float:
    """Score one answer; None: there was none. Not for `loss`, nor for `tool_call`."""
    if given is None:
        return 0.0
    if metric == "json_fields":
        return _field_f1(_json_of(expected), _json_of(given))
    return float(expected.strip() == given.strip())


def score_calls(
    expected: Sequence[tuple[str, Any]], given: Sequence[tuple[str, Any]] | None
) -> float:
    """Score (tool, arguments) pairs in order: the mean over the calls of the longer list."""
    if not expected or given is None:
        return 0.0
    pairs = zip(expected, given, strict=False)
    return sum(_call_score(e, g) for e, g in pairs) / max(len(expected), len(given))


def _call_score(expected: tuple[str, Any], given: tuple[str, Any]) -> float:
    if expected[0] != given[0]:
        return 0.0
    wanted = dict(expected[1] or {})
    got = dict(given[1]) if isinstance(given[1], dict) else {}
    names = wanted.keys() | got.keys()
    if not names:
        return 1.0
    missing = object()
    right = sum(_same(wanted.get(name, missing), got.get(name, missing)) for name in names)
    return right / len(names)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is not true, and 1 is 1.0."""
    return (type(one) is type(other) and one == other) or (
        {type(one), type(other)} == {int, float} and one == other
    )


def _field_f1(expected: Any, given: Any) -> float:
    wanted, got = set(_leaves(expected)), set(_leaves(given)) if isinstance(given, dict) else set()
    if not wanted and not got:
        return float(isinstance(given, dict))
    return 2 * len(wanted & got) / (len(wanted) + len(got))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves(part, f"{path}/{json.dumps(name)}")
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from _leaves(part, f"{path}/{index}")
    else:
        yield path, json.dumps(value, sort_keys=True)


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
