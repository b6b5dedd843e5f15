"""The documented states of adapters are those of the transition table."""

from __future__ import annotations

from typing import get_args

from database.transitions import ADAPTER
from web.shapes.adapters import AdapterStatus


def test_documented_states_are_those_of_the_table() -> None:
    assert set(get_args(AdapterStatus)) == set(ADAPTER.by_name)
