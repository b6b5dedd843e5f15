"""A page shows at most its limit, and names the next page only if there is one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from web.http.paging import page_of

ROWS = [SimpleNamespace(job_id=name) for name in "abc"]


@pytest.mark.parametrize(
    ("limit", "shown", "next_after"),
    [(2, ["a", "b"], "b"), (3, ["a", "b", "c"], None), (4, ["a", "b", "c"], None)],
)
def test_a_page_names_the_next_one(limit: int, shown: list[str], next_after: str | None) -> None:
    rows, after = page_of(ROWS, limit, "job_id")
    assert [row.job_id for row in rows] == shown
    assert after == next_after


def test_an_empty_list_has_no_next_page() -> None:
    assert page_of([], 2, "job_id") == ([], None)
