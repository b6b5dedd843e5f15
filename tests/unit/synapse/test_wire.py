"""Values that JSON or Postgres cannot hold are found before they are sent."""

from __future__ import annotations

import pytest

from synapse import wire


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_only_json_is_sent(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        wire.dumps({"value": value})


def test_fields_are_made_readable_whatever_they_are() -> None:
    raw = {b"a\x00": b"\xff\x00", "größe".encode(): "大".encode()}
    assert wire.readable(raw) == {"a\\x00": "\\xff\\x00", "größe": "大"}
    assert wire.storable(wire.readable(raw))


@pytest.mark.parametrize("value", ["a\x00", ["\ud800"], {"k": {"\x00": 1}}])
def test_what_a_text_column_refuses(value: object) -> None:
    assert not wire.storable(value)


def test_a_reason_can_always_be_stored() -> None:
    assert wire.printable("half \ud800, nul \x00") == "half \\ud800, nul \\x00"
