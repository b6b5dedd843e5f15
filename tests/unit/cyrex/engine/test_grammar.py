"""Grammars as data."""

from __future__ import annotations

import pickle

import pytest

from cyrex.engine import Grammar, RequestRefused


def test_choices_are_literals() -> None:
    grammar = Grammar.choices(['say "hi"', "two\nlines", 'say "hi"'])
    assert grammar.source == r'start: "say \"hi\"" | "two\nlines"'


@pytest.mark.parametrize("choices", [[], [""], ["a", ""], ["half \ud800 a pair"]])
def test_choices_that_cannot_be_are_refused(choices: list[str]) -> None:
    with pytest.raises(RequestRefused, match="grammar"):
        Grammar.choices(choices)


def test_empty_and_huge_sources_are_refused() -> None:
    for source in ("", " \n", "x" * 1_000_001):
        with pytest.raises(RequestRefused, match="grammar"):
            Grammar.lark(source)


def test_crosses_a_process_boundary() -> None:
    grammar = Grammar.json_schema({"type": "integer"})
    assert pickle.loads(pickle.dumps(grammar)) == grammar
    assert len({grammar, Grammar.json_schema({"type": "integer"})}) == 1
