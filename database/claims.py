"""Guarded changes of state: claims, leases, fencing. The only writers of `status` and `step`.

Every function returns whether (or which) rows it changed; nothing changed means that another
process was faster, and the caller leaves the row alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from database.base import Stepped, interval, storable
from database.guarded import claiming, updating, writing, writing_also
from database.models import DeadLetter, Worker
from database.transitions import HEARTBEAT_EXPIRY_SECONDS, MAX_FAILURES, Machine

HEARTBEAT_SECONDS = 2.0
MAX_REASON_CHARACTERS = 2_000


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


def claim(
    session: Session, machine: Machine, row_id: str, step: str, attempt: int, owner: str
) -> Any | None:
    """Take the lease of (row, step, attempt) for `owner`, a worker's id. None: not to be had."""
    return session.execute(
        claiming(machine.kind),
        {"of_row": row_id, "of_step": step, "of_attempt": attempt, "for_owner": owner},
    ).scalar_one_or_none()


def write(
    session: Session,
    machine: Machine,
    row_id: str,
    held: int,
    owner: str,
    **values: Any,
) -> Any:
    """Write while holding the lease of attempt `held`. Raises `Lost` when it is held no more."""
    fixed = {name: value for name, value in values.items() if isinstance(value, ColumnElement)}
    sent = {name: value for name, value in values.items() if name not in fixed}
    names = tuple(sent)
    row = session.execute(
        writing_also(machine.kind, names, fixed) if fixed else writing(machine.kind, names),
        {"of_row": row_id, "of_attempt": held, "of_owner": owner}
        | {f"to_{name}": value for name, value in sent.items()},
    ).scalar_one_or_none()
    if row is None:
        raise Lost(f"{machine.kind} {row_id}: attempt {held} is no longer the owner")
    return row


def _leave(session: Session, machine: Machine, row: Stepped, owner: str, **values: Any) -> Any:
    """`write`, and give the lease back with it."""
    row_id = getattr(row, machine.key)
    return write(session, machine, row_id, row.attempt, owner, lease_owner=None, **values)


def advance(session: Session, machine: Machine, row: Stepped, owner: str, **values: Any) -> Any:
    """End the claimed step well: give the lease back and stand before the next step."""
    following = machine.after(str(row.step))
    assert following is not None, f"{machine.kind}: {row.step} is the last step; use finish"
    return _leave(
        session,
        machine,
        row,
        owner,
        step=following,
        failures=0,
        published_at=func.now(),
        **values,
    )


def repeat(
    session: Session, machine: Machine, row: Stepped, owner: str, step: str, **values: Any
) -> Any:
    """Give the lease back and stand before an earlier step, under a new attempt."""
    return _leave(
        session,
        machine,
        row,
        owner,
        step=step,
        published_at=func.now(),
        attempt=row.attempt + 1,
        **values,
    )


def finish(
    session: Session, machine: Machine, row: Stepped, owner: str, target: str, **values: Any
) -> Any:
    """End the claimed row in a terminal state."""
    assert target in machine.by_name[machine.running].to, f"{machine.kind}: not to {target}"
    return _leave(
        session,
        machine,
        row,
        owner,
        status=target,
        **values,
    )


def pause(
    session: Session, machine: Machine, row: Stepped, owner: str, target: str, **values: Any
) -> Any:
    """Give the lease back and wait, in a state that no worker claims, until the row is moved on."""
    assert target in machine.by_name[machine.running].to, f"{machine.kind}: not to {target}"
    assert target not in (*machine.claimable, *machine.terminal), f"{target} is no place to wait"
    return _leave(
        session,
        machine,
        row,
        owner,
        status=target,
        failures=0,
        **values,
    )


def release(
    session: Session,
    machine: Machine,
    row: Stepped,
    owner: str,
    reason: str,
    counts: bool = True,
    wait: bool = False,
) -> Any | None:
    """Give a claimed step back, for another try; None when the lease was not `owner`'s.

    The attempt grows, so that what the old owner still writes changes nothing. After
    `MAX_FAILURES` the row fails and is set aside as a dead letter. `counts=False`: nothing is
    wrong with the row. `wait=True`: the next try is due in a while, later each time.
    """
    model: Any = machine.model
    reason = storable(reason)[:MAX_REASON_CHARACTERS]
    # Before the update, which may write the new values into `row`.
    step, attempt = row.step, row.attempt
    failures = row.failures + int(counts)
    entry = {
        "at": datetime.now(UTC).isoformat(),
        "step": step,
        "attempt": attempt,
        "owner": owner,
        "reason": reason,
    }
    history = [*row.history, entry]
    values: dict[str, Any] = {
        "lease_owner": None,
        "attempt": attempt + 1,
        "failures": failures,
        "history": history,
        "published_at": func.now() if wait else None,
        "publications": len(history) if wait else 0,
    }
    if failures >= MAX_FAILURES:
        values["status"] = machine.failed if machine.given_up is None else machine.given_up
        values["error"] = {
            "code": "gave_up",
            "message": f"gave up after {failures} tries: {reason}",
        }
    guard = [model.attempt == attempt, model.lease_owner == owner]
    changed = _update(session, machine, getattr(row, machine.key), guard, **values)
    if changed is not None and failures >= MAX_FAILURES:
        session.add(
            DeadLetter(
                kind=machine.kind,
                reference=getattr(row, machine.key),
                company_id=getattr(row, "company_id", None),
                reason=reason,
                payload={"step": step, "attempt": attempt},
                history=history,
            )
        )
    return changed


def is_alive() -> ColumnElement[bool]:
    """SQL: whether a worker's heartbeat is fresh."""
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
