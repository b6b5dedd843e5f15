"""What a release may not be asked for: the asserts that keep a chain inside its table."""

from __future__ import annotations

from typing import Any

import pytest

from cyrex.work.lease import Lease
from database.models import TrainingRun
from database.transitions import TRAINING


def test_the_last_step_does_not_advance() -> None:
    run = TrainingRun(request_id="r", step="announce", attempt=1)
    nothing: Any = None
    with pytest.raises(AssertionError, match="announce is the last step"):
        Lease.held(TRAINING, run).advance(nothing)


@pytest.mark.parametrize("target", ["queued", "completed", "requested"])
def test_a_run_does_not_finish_in_a_state_that_the_table_does_not_lead_to(target: str) -> None:
    run = TrainingRun(request_id="r", step="train", attempt=1)
    nothing: Any = None
    with pytest.raises(AssertionError, match=f"not to {target}"):
        Lease.held(TRAINING, run).finish(nothing, target)
