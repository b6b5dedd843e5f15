"""JSON that says everything once."""

from __future__ import annotations

from typing import Any


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: refuses an object that says a key twice, of which one would be lost.

    Raises:
        ValueError: names the key.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"the key {twice[:80]!r} is there twice")
    return found


def refuse_constant(name: str) -> float:
    """For `json.loads`: NaN and the infinities are no JSON. Raises `ValueError`."""
    raise ValueError(f"{name} is not a JSON number")
