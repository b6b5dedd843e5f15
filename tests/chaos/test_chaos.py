"""The suite itself: kill everything under load, then nothing is lost, doubled or left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.run import Options, run

ZEROS = {"lost": 0, "doubled": 0, "orphans": 0, "stuck": 0}


def check(options: Options) -> dict[str, Any]:
    """Run; returns the figures when the audit found nothing, and fails with its sentences."""
    report, line = run(options)
    assert {kind: line[kind] for kind in ZEROS} == ZEROS, report.found
    return line


@pytest.mark.timeout(600)
def test_kills_under_load(tmp_path: Path) -> None:
    """A minute: the processes that hold work are killed, and die between two acts."""
    line = check(Options(11, 60, tmp_path / "data", kills_only=True, trainings=0, registry="local"))
    assert line["kills"] >= 6


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_everything_at_once(tmp_path: Path) -> None:
    """What `make chaos` does by default: every disturbance there is, each at least once."""
    line = check(Options(23, 500, tmp_path / "data"))
    assert line["flushes"] >= 1
    assert line["flush_reissue_s"] <= 60
    assert line["redis_back_s"] is not None
    # None: each worker that could have shown it was killed itself meanwhile. Alone it is measured
    # by tests/integration/tasks/test_recovery.py.
    assert line["stop_back_s"] is None or line["stop_back_s"] <= 60
