"""The documented states are the real ones."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from database.transitions import ADAPTER, JOB, TRAINING, Machine
from web.shapes import requests as schemas


@pytest.mark.parametrize(
    ("documented", "machine"),
    [
        (schemas.JobStatus, JOB),
        (schemas.TrainingStatus, TRAINING),
        (schemas.AdapterStatus, ADAPTER),
    ],
)
def test_documented_states_are_those_of_the_table(documented: Any, machine: Machine) -> None:
    assert set(get_args(documented)) == set(machine.by_name)
