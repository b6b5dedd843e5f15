"""docs/guarantees.md says what the code says, and names tests that are there."""

from __future__ import annotations

import re

from database import states
from settings import REPOSITORY

PAGE = REPOSITORY / "docs" / "guarantees.md"
MARK = "<!-- states -->\n\n"


def test_the_states_are_those_of_the_code() -> None:
    """If this fails: put what `python -m database states` prints behind the mark."""
    assert PAGE.read_text().partition(MARK)[2] == states.markdown()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) > 20
    for path, test in named:
        source = (REPOSITORY / path).read_text()
        assert not test or f"def {test}(" in source, f"{path}::{test}"


def test_every_promise_names_a_test() -> None:
    promises = re.findall(r"^\| \d+ \|.*$", PAGE.read_text(), flags=re.MULTILINE)
    assert len(promises) >= 18
    for promise in promises:
        assert "tests/" in promise, promise
