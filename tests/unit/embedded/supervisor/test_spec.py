"""The specification of a process."""

from __future__ import annotations

from embedded.supervisor.spec import stays_up


def test_stays_up() -> None:
    assert not stays_up(1.0)(0.9)
    assert stays_up(1.0)(1.0)
