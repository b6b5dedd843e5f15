from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from helox.base import Base
from helox.check import MAX_LINE_BYTES, check_lines
from helox.mask import Encoder
from helox.nesting import MAX_DEPTH, TOO_DEEP

GOOD = '{"input": "a", "output": "b"}'


def test_every_bad_line_is_reported_by_number_and_field() -> None:
    lines = [
        GOOD,
        "",
        "{not json",
        '{"input": "x"}',
        "[1]",
        '{"input": NaN, "output": "y"}',
        '{"input": "\\ud800", "output": "y"}',
        b'{"input": "\xff", "output": "y"}',
        "[" * 100_000 + "]" * 100_000,
        '{"messages": [{"role": "user", "content": "q"}, {"role": "x", "content": "a"}]}',
        '{"input": "' + "x" * MAX_LINE_BYTES + '", "output": "y"}',
    ]
    report = check_lines(lines)
    assert [(p.line, p.field) for p in report.problems] == [
        (3, "line"),
        (4, "output"),
        (5, "line"),
        (6, "line"),
        (7, "line"),
        (8, "line"),
        (9, "line"),
        (10, "messages[1].role"),
        (11, "line"),
    ]
    assert report.lines == 10 and report.examples == 1 and not report.ok
    assert str(MAX_LINE_BYTES) in report.problems[-1].message


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"properties": value}
    return value


def calling(arguments: Any, parameters: Any = None) -> dict[str, Any]:
    """A line that calls a tool."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    asked = {"role": "user", "content": "q"}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters or {}}}
    return {"messages": [asked, answer], "tools": [tool]}


ARGUMENTS = "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        (calling('{"a": NaN}'), ARGUMENTS, "is not JSON"),
        (calling('{"a": 1e999}'), ARGUMENTS, "is not JSON"),
        (calling('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"), ARGUMENTS, "is nested deeper"),
        (calling({"a": math.inf}), "line", "is not JSON"),
        (calling("{}", nested(900)), "line", "is nested deeper than 64 levels"),
        ('{"input": "a", "output": "b", "note": "\\ud800"}', "line", "half a surrogate"),
        ('{"input": "a", "output": "b", "note": 1e999}', "line", "is not JSON"),
    ],
)
def test_what_cannot_be_written_down_again_is_a_bad_line(
    line: dict[str, Any] | str, field: str, message: str
) -> None:
    """Wherever it hides: in the text of a call's arguments, in a field that nobody reads."""
    report = check_lines([GOOD, line])
    assert report.examples == 1
    assert [(p.line, p.field) for p in report.problems] == [(2, field)]
    assert message in report.problems[0].message


@pytest.mark.parametrize("depth", [MAX_DEPTH, 100, 900, 950, 5_000, 100_000])
def test_depth_has_a_limit_of_its_own_and_not_the_stacks(depth: int) -> None:
    """However much of the stack Python has left, it is the same lines that are good."""
    nested = "[" * depth + "]" * depth
    just = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    tool = '{"function": {"name": "f", "parameters": {"maximum": 1e999}}}'
    asked = '"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'
    lines = [f'{{"input": {x}, "output": "y"}}' for x in (nested, just)]
    report = check_lines([*lines, "{" + asked + ', "tools": [' + tool + "]}"])
    assert [(p.line, p.message) for p in report.problems[:-1]] == [(1, TOO_DEEP)]
    assert report.problems[-1].line == 3 and "is not JSON" in report.problems[-1].message


def test_good_data_of_every_kind_of_line() -> None:
    report = check_lines([GOOD, ("\ufeff" + GOOD).encode(), {"prompt": 1, "completion": 2}])
    assert report.ok and report.examples == 3


def test_nothing_is_not_ok() -> None:
    assert not check_lines([]).ok
    assert not check_lines(["", "  "]).ok


def test_repeats_are_counted_across_shapes() -> None:
    lines = [
        {"input": {"a": 1, "b": 2}, "output": "x"},
        {"prompt": {"b": 2, "a": 1}, "completion": "x"},
        {"input": {"a": 1, "b": 2}, "output": "y"},
        {"input": "other", "output": "x"},
    ]
    report = check_lines(lines)
    assert (report.duplicates, report.contradictions) == (1, 1)


def test_unread_fields_are_named() -> None:
    report = check_lines([{"input": 1, "output": 2, "id": 7}, {"input": 3, "output": 4, "id": 8}])
    assert report.to_json()["ignored_fields"] == {"id": 2}


def test_tokens_truncation_and_masking(tiny_base: Path) -> None:
    lines = [
        {"input": "q", "output": "abc"},  # user q end assistant abc end
        {"input": "q", "output": "a" * 30},
        {"input": "q" * 30, "output": "a"},
    ]
    report = check_lines(lines, Encoder.of(Base.open(tiny_base), 20))
    assert report.tokens == 8 + 20 + 20
    assert report.trained_tokens == 4 + 16 + 0
    assert report.longest == 35
    assert report.truncated == [2, 3]
    assert report.fully_masked == [3]


def test_a_template_that_refuses_is_a_problem_of_the_line(tiny_base: Path) -> None:
    base = Base.open(tiny_base)
    source = "{% if messages[0].content == 'a' %}{{ raise_exception('never') }}{% endif %}"
    template = type(base.template)(source + base.template.source)
    report = check_lines([GOOD], Encoder(template, base.tokenizer, [256], 20))
    assert report.problems[0].line == 1 and "never" in report.problems[0].message


@pytest.mark.parametrize("count", [1_200])
def test_the_json_report_is_bounded_but_counts_all(count: int) -> None:
    body = check_lines(["x"] * count).to_json()
    assert body["problem_count"] == count and len(body["problems"]) == 1_000
