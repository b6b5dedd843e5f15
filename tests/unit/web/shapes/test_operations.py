"""Dead letters are filtered by kinds that exist."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from database.transitions import MACHINES
from synapse.streams import CONSUMED
from web.shapes.operations import DeadLetterQuery


@pytest.mark.parametrize("kind", [*MACHINES, *CONSUMED])
def test_each_kind_of_row_and_each_stream_is_a_kind(kind: str) -> None:
    assert DeadLetterQuery(kind=kind).kind == kind


def test_another_kind_is_refused_and_the_kinds_are_named() -> None:
    with pytest.raises(ValidationError) as refused:
        DeadLetterQuery(kind="nonsense")
    for kind in MACHINES:
        assert kind in refused.value.errors()[0]["msg"]
