"""What the demo brings along: its tool server and the conversations about it."""

from __future__ import annotations

from demo import tools as demo_tools
from helox.check import check_lines


def test_conversations_are_good_training_data() -> None:
    report = check_lines(demo_tools.training_lines(50))
    assert report.problems == []
    assert (report.examples, report.duplicates, report.contradictions) == (50, 0, 0)
