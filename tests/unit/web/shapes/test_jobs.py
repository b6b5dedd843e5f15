"""The documented states of jobs are those of the transition table."""

from __future__ import annotations

from typing import get_args

from database.transitions import JOB
from web.shapes.jobs import JobStatus


def test_documented_states_are_those_of_the_table() -> None:
    assert set(get_args(JobStatus)) == set(JOB.by_name)
