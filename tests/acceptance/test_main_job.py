"""The main job as `make demo` runs it, smaller."""

from __future__ import annotations

from tests.acceptance.small_demo import Table


def test_each_company_gets_its_own_answers(undisturbed: Table) -> None:
    for name, other in (("acme", "globex"), ("globex", "acme")):
        row = undisturbed[name]
        assert row["own adapter"] >= 0.9
        assert row[f"{other}'s adapter"] <= 0.1
        assert row["base"] <= 0.1
