"""Guarded changes of rows that no step owns, and who owns the others.

Only this module and `cyrex.work.lease` write a `status` or a `step`. A change returns the row, or
None: somebody else was faster, and the caller leaves the row alone.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from database.base import interval
from database.guarded import updating
from database.models import Worker
from database.transitions import HEARTBEAT_EXPIRY_SECONDS, Machine

HEARTBEAT_SECONDS = 2.0


class Lost(Exception):
    """The row is no longer this owner's: a newer attempt has it, or it has ended."""


def _update(
    session: Session, machine: Machine, row_id: str, guard: list[ColumnElement[bool]], **values: Any
) -> Any | None:
    return session.execute(updating(machine, row_id, guard, values)).scalar_one_or_none()


def move(
    session: Session,
    machine: Machine,
    row_id: str,
    target: str,
    *,
    only_from: str | None = None,
    **values: Any,
) -> Any | None:
    """Move a row that no step owns to `target`, if its state allows that.

    `only_from`: of the states that do, the one it must be in.
    """
    model: Any = machine.model
    sources = machine.sources(target)
    if only_from is not None:
        assert only_from in sources, f"{machine.kind}: not from {only_from} to {target}"
        sources = (only_from,)
    guard = [model.status.in_(sources), model.lease_owner.is_(None)]
    return _update(session, machine, row_id, guard, status=target, **values)


def revive(
    session: Session, machine: Machine, row_id: str, attempt: int, target: str, **values: Any
) -> Any | None:
    """Take a failed row to `target`, as if it had never failed: an operator's replay.

    None when it has not failed, or not at `attempt`. The dead letter keeps the history.
    """
    assert target in (machine.revived, machine.restarted), f"{machine.kind}: no way to {target}"
    model: Any = machine.model
    guard = [
        model.status == machine.failed,
        model.attempt == attempt,
        model.lease_owner.is_(None),
    ]
    values = {"published_at": func.now(), "publications": 1, **values}
    return _update(
        session,
        machine,
        row_id,
        guard,
        status=target,
        attempt=attempt + 1,
        failures=0,
        history=[],
        error=None,
        cancel_requested=False,
        **values,
    )


def is_alive() -> ColumnElement[bool]:
    """SQL over `workers`: the heartbeat is fresh."""
    return Worker.heartbeat_at > func.now() - interval(HEARTBEAT_EXPIRY_SECONDS)


def alive_workers() -> Select[str]:
    """The ids of workers with a fresh heartbeat."""
    return select(Worker.worker_id).where(is_alive())


def orphans(session: Session, machine: Machine, limit: int) -> list[Any]:
    """Rows whose owner's heartbeat has stopped or whose worker is gone, locked meanwhile."""
    model: Any = machine.model
    return list(
        session.scalars(
            select(model)
            .where(model.lease_owner.is_not(None), model.lease_owner.not_in(alive_workers()))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )


def owned_by(session: Session, machine: Machine, owner: str) -> list[Any]:
    """Rows whose lease `owner` holds, locked for this transaction."""
    model: Any = machine.model
    return list(session.scalars(select(model).where(model.lease_owner == owner).with_for_update()))
