"""The search text of memory is bounded, and holds no character that no row can hold."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from web.shapes.memory import MAX_QUERY, MemoryQuery


def test_a_search_is_optional_and_bounded() -> None:
    assert MemoryQuery().q is None
    assert MemoryQuery(q="é" * MAX_QUERY).q == "é" * MAX_QUERY


@pytest.mark.parametrize("text", ["", "x" * (MAX_QUERY + 1), "a\0b"])
def test_a_search_that_can_find_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        MemoryQuery(q=text)
    assert refused.value.errors()[0]["loc"] == ("q",)
