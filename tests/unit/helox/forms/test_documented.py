"""Every example of docs/data.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from helox.check import check_lines

PAGE = (Path(__file__).parents[4] / "docs" / "data.md").read_text()


def rows(kind: str) -> list[str]:
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_the_rows_that_are_shown_are_taken() -> None:
    report = check_lines(rows("jsonl"))
    assert not report.problems and report.examples == len(rows("jsonl")) > 10
    assert len(report.forms) == 7, "a form is not shown"


def test_the_rows_that_are_shown_as_refused_are() -> None:
    refused = rows("refused")
    report = check_lines(refused)
    assert len(refused) > 5
    assert [problem.line for problem in report.problems] == list(range(1, len(refused) + 1))
