"""The end and the replay of each kind of row, whoever ends or replays it.

What else is particular to a kind stands on its `Machine`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from cyrex.agents import state as agent_state
from cyrex.jobs import service as jobs
from cyrex.recovery.dead_ends import TRAINING_ENDED, take_back_adapter
from cyrex.training import service as training
from cyrex.work.lease import Hint
from cyrex.work.news import updated
from database.base import Json
from database.models import Job, LoraAdapter, ToolCall, TrainingRun
from database.transitions import ADAPTER, JOB, TOOL_CALL, TRAINING, Machine


@dataclass(frozen=True)
class RowKind:
    """Each function runs in the transaction that ends or replays the row.

    end: dates the end, tells who follows the row; returns what the broker is to hear of.
    fresh: the values that a replayed row begins with. replayed: tells who follows the row.
    refusal: why this failed row cannot be replayed; None: it can.
    """

    end: Callable[[Session, Any], list[Hint]] = lambda _session, _row: []
    fresh: Json = field(default_factory=dict)
    replayed: Callable[[Session, Any], None] = lambda _session, _row: None
    refusal: Callable[[Any], str | None] = lambda _row: None


def end(session: Session, machine: Machine, row: Any) -> list[Hint]:
    """Call in the transaction that ends `row`; returns what the broker is to hear of after it.

    A hint that is not given is given by the reconciler, later.
    """
    return KINDS[machine.kind].end(session, row)


def _end_job(session: Session, job: Job) -> list[Hint]:
    jobs.end(session, job)
    return []


def _refuse_job(job: Job) -> str | None:
    return None if job.payload_removed_at is None else "the job's data was deleted for its age"


def _end_training(session: Session, run: TrainingRun) -> list[Hint]:
    training.end(session, run)
    return []


def _replayed_training(session: Session, run: TrainingRun) -> None:
    training.add_event(session, run, "replayed", f"tried again from step {run.step}")
    take_back_adapter(session, TRAINING_ENDED, LoraAdapter.request_id == run.request_id)


def _end_tool_call(session: Session, call: ToolCall) -> list[Hint]:
    resumed = agent_state.resume(session, call.job_id)
    return [] if resumed is None else [(JOB, resumed)]


KINDS: dict[str, RowKind] = {
    JOB.kind: RowKind(
        end=_end_job,
        # Its time, and the champion of the moment when it is claimed.
        fresh={
            "deadline_at": None,
            "started_at": None,
            "completed_at": None,
            "adapter_resolved": False,
        },
        replayed=updated,
        refusal=_refuse_job,
    ),
    TRAINING.kind: RowKind(
        end=_end_training, fresh={"finished_at": None}, replayed=_replayed_training
    ),
    ADAPTER.kind: RowKind(),
    TOOL_CALL.kind: RowKind(
        end=_end_tool_call,
        refusal=lambda _call: "its job was told that the call failed, and has gone on",
    ),
}
