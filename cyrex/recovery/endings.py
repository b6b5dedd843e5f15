"""What the end of a row brings with it, whoever ends it: its date, its news, what may go on."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from cyrex.agents import state as agent_state
from cyrex.jobs import service as jobs
from cyrex.training import service as training
from cyrex.work.lease import Hint
from database.transitions import JOB, TOOL_CALL, TRAINING, Machine


def end(session: Session, machine: Machine, row: Any) -> list[Hint]:
    """Call in the transaction that ends `row`; returns what the broker is to hear of after it.

    A hint that is not given is given by the reconciler, later.
    """
    if machine is JOB:
        jobs.end(session, row)
    elif machine is TRAINING:
        training.end(session, row)
    elif machine is TOOL_CALL:
        resumed = agent_state.resume(session, row.job_id)
        return [] if resumed is None else [(JOB, resumed)]
    return []
