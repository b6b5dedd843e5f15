"""What the end of a row brings with it, whoever ends it: its date, and the news of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from cyrex import jobs, training
from database.transitions import JOB, TRAINING, Machine


def end(session: Session, machine: Machine, row: Any) -> None:
    """Call in the transaction that moves `row` to a terminal state."""
    if machine is JOB:
        jobs.end(session, row)
    elif machine is TRAINING:
        training.end(session, row)
