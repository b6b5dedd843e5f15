"""Pages of a list: ask for one row more than is shown, to know whether there is a next page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def page_of(rows: Sequence[Any], limit: int, key: str) -> tuple[Sequence[Any], str | None]:
    """The rows to show of `limit + 1` fetched, and the `after` of the next page (None: the end)."""
    shown = rows[:limit]
    return shown, str(getattr(shown[-1], key)) if len(rows) > limit else None
