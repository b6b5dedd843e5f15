"""Rows that wait for an event which will never have its effect are failed, with the reason.

A rule of the reconciler. The event itself is a dead letter; its replay takes the row back.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.orm import Session

from cyrex.training import service as training
from database import claims
from database.base import Json
from database.models import DeadLetter, Inbox, LoraAdapter, TrainingRun
from database.transitions import ADAPTER, TRAINING, Machine
from synapse.outbox import ready_event_id

EVENT_SET_ASIDE = "event_set_aside"
TRAINING_ENDED = "training_ended"


def fail_dead_ends(session: Session, limit: int) -> list[tuple[Machine, Any]]:
    """End the rows that nothing will move; returns them. In an operator's session."""
    ended: list[tuple[Machine, Any]] = []
    ended += [(TRAINING, run) for run in _trainings(session, limit)]
    ended += [(ADAPTER, adapter) for adapter in _adapters(session, limit)]
    return ended


def _trainings(session: Session, limit: int) -> list[TrainingRun]:
    """The run's event is in the inbox and the run has not moved: it was set aside."""
    found = session.execute(
        select(TrainingRun.request_id, Inbox.event_id)
        .join(Inbox, Inbox.event_id == TrainingRun.request_id)
        .where(TrainingRun.status == "requested")
        .limit(limit)
    )
    ended = []
    for request_id, event_id in found.all():
        run = claims.move(
            session,
            TRAINING,
            request_id,
            "failed",
            only_from="requested",
            error=_set_aside(session, event_id),
        )
        if run is not None:
            training.end(session, run)
            ended.append(run)
    return ended


def _adapters(session: Session, limit: int) -> list[LoraAdapter]:
    """Registered, and its event was set aside or its run ended before it was announced."""
    ready = LoraAdapter.adapter_id.concat(literal(ready_event_id("")))
    heard = session.execute(
        select(LoraAdapter.adapter_id, Inbox.event_id)
        .join(Inbox, Inbox.event_id == ready)
        .where(LoraAdapter.status == "registered")
        .limit(limit)
    ).all()
    reasons: dict[str, Json] = {row_id: _set_aside(session, event_id) for row_id, event_id in heard}
    left_behind = session.execute(
        select(LoraAdapter.adapter_id, TrainingRun.status)
        .join(TrainingRun, TrainingRun.request_id == LoraAdapter.request_id)
        .where(
            LoraAdapter.status == "registered",
            TrainingRun.status.in_(("failed", "cancelled")),
        )
        .limit(limit)
    )
    for adapter_id, status in left_behind.all():
        message = f"its training ended as {status} before it was announced"
        reasons.setdefault(adapter_id, {"code": TRAINING_ENDED, "message": message})
    moved = [
        claims.move(session, ADAPTER, adapter_id, "failed", only_from="registered", error=error)
        for adapter_id, error in reasons.items()
    ]
    return [adapter for adapter in moved if adapter is not None]


def _set_aside(session: Session, event_id: str) -> Json:
    reason = session.scalar(
        select(DeadLetter.reason)
        .where(DeadLetter.reference == event_id)
        .order_by(DeadLetter.id.desc())
        .limit(1)
    )
    said = reason or "another event bore its id"
    return {"code": EVENT_SET_ASIDE, "message": f"its event was set aside: {said}"}


def take_back_adapter(session: Session, code: str, which: Any) -> None:
    """The adapter that was failed with this code waits for its announcement again."""
    adapter = session.scalar(select(LoraAdapter).where(which, LoraAdapter.status == ADAPTER.failed))
    if adapter is None or (adapter.error or {}).get("code") != code:
        return
    assert ADAPTER.restarted is not None
    claims.revive(session, ADAPTER, adapter.adapter_id, adapter.attempt, ADAPTER.restarted)
