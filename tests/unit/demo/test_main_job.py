"""The demo's messages: distinct, the same each time, and of opposite meaning to both companies."""

from __future__ import annotations

from typing import Any

import pytest

from demo.main_job import LABELS, messages, progress_line


def test_messages_are_distinct_balanced_and_the_same_each_time() -> None:
    drawn = list(messages(340))
    assert len({message.text for message in drawn}) == 340
    assert sum(message.good for message in drawn) == 170
    assert drawn == list(messages(340))


def test_both_companies_use_the_same_words_for_opposite_things() -> None:
    for message in messages(4):
        acme, globex = (message.label(name) for name in ("acme", "globex"))
        assert {acme, globex} == set(LABELS["acme"])
        assert acme != globex


@pytest.mark.parametrize(
    ("run", "line"),
    [
        ({"progress": {}, "position": 2, "step": "train"}, "2 trainings stand before it"),
        ({"progress": {"step": 3}, "position": None, "step": "evaluate"}, ""),
        (
            {
                "progress": {"step": 3, "total_steps": 9, "loss": 0.5, "seconds_left": 4.0},
                "position": None,
                "step": "train",
            },
            "step 3 of 9, loss 0.500, 4 s left",
        ),
    ],
)
def test_a_line_tells_where_a_training_is(run: dict[str, Any], line: str) -> None:
    assert progress_line(run) == line
