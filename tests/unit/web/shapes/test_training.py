"""The documented states of trainings are those of the transition table."""

from __future__ import annotations

from typing import get_args

from database.transitions import TRAINING
from web.shapes.training import TrainingStatus


def test_documented_states_are_those_of_the_table() -> None:
    assert set(get_args(TrainingStatus)) == set(TRAINING.by_name)
