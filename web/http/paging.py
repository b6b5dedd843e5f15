"""Pages of a list: a query fetches one row more than is shown, which tells of a next page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def page_of(rows: Sequence[Any], limit: int, key: str) -> tuple[Sequence[Any], str | None]:
    """Of `limit + 1` fetched rows, those to show, and the next page's `after` (None: the end)."""
    shown = rows[:limit]
    return shown, str(getattr(shown[-1], key)) if len(rows) > limit else None
