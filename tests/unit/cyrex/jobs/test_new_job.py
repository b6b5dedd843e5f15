"""A new job is checked when it is made, and says what its row holds."""

from __future__ import annotations

from typing import Any

import pytest

from cyrex.errors import UserError
from cyrex.jobs.new_job import MAX_CHOICE_CHARACTERS, MAX_CHOICES, NewJob, check_data


def test_its_row_is_queued_under_the_id_it_was_given() -> None:
    new = NewJob("acme", {"input": "x"}, agent_id="a", choices=("yes", "no"), job_id="j-1")
    assert new.values() == {
        "job_id": "j-1",
        "company_id": "acme",
        "job_type": "automation",
        "input_data": {"data": {"input": "x"}, "choices": ["yes", "no"]},
        "use_adapter": True,
        "agent_id": "a",
        "details": {},
        "source": "api",
        "status": "queued",
        "step": "process",
    }


def test_each_has_an_id_of_its_own_and_no_choices_unless_given() -> None:
    one, other = NewJob("acme", 1), NewJob("acme", 1)
    assert one.job_id != other.job_id
    assert one.values()["input_data"] == {"data": 1}


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"task_type": ""}, "task_type"),
        ({"task_type": "a b"}, "task_type"),
        ({"task_type": "a" * 65}, "task_type"),
        ({"choices": []}, "choices"),
        ({"choices": ["a", "a"]}, "choices"),
        ({"choices": [str(n) for n in range(MAX_CHOICES + 1)]}, "choices"),
        ({"choices": ["a", " "]}, "choices[1]"),
        ({"choices": ["a" * (MAX_CHOICE_CHARACTERS + 1)]}, "choices[0]"),
    ],
)
def test_what_cannot_be_asked_names_its_field(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(UserError) as refused:
        NewJob("acme", "x", **asked)
    assert refused.value.param == param


@pytest.mark.parametrize("data", [{1, 2}, float("nan"), b"x", {"a": object()}])
def test_data_that_is_no_json_is_refused(data: Any) -> None:
    with pytest.raises(UserError, match="data: is not JSON"):
        check_data(data)
