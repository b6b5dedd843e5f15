"""The state of the whole system, from rows: workers, leases, queued rows, dead letters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from database.base import Json
from database.claims import alive_workers
from database.models import DeadLetter, Outbox, Worker
from database.transitions import HEARTBEAT_EXPIRY_SECONDS, MACHINES, Machine

# At most this many leases of a worker are named; all are counted.
SHOWN_LEASES = 100


def age(moment: Any) -> ColumnElement[Any]:
    """Seconds since `moment`, by the database's clock."""
    return func.extract("epoch", func.clock_timestamp() - moment)


def rows_by_state(session: Session) -> dict[str, dict[str, int]]:
    """How many rows are in each state, every state named, by kind."""
    found: dict[str, dict[str, int]] = {}
    for machine in MACHINES.values():
        model: Any = machine.model
        counted = session.execute(select(model.status, func.count()).group_by(model.status))
        numbers: dict[str, int] = dict(counted.all())
        found[machine.kind] = {name: numbers.get(name, 0) for name in machine.by_name}
    return found


def open_dead_letters(session: Session) -> dict[str, int]:
    query = (
        select(DeadLetter.kind, func.count())
        .where(DeadLetter.replayed_at.is_(None))
        .group_by(DeadLetter.kind)
        .order_by(DeadLetter.kind)
    )
    return dict(session.execute(query).all())


def outbox_backlog(session: Session) -> Json:
    row = session.execute(
        select(func.count(), age(func.min(Outbox.created_at))).where(Outbox.published_at.is_(None))
    ).one()
    return {"unpublished": row[0], "oldest_seconds": _rounded(row[1])}


def leases(session: Session) -> dict[str, Json]:
    """Held and orphaned leases by kind."""
    found: dict[str, Json] = {}
    for machine in MACHINES.values():
        model: Any = machine.model
        orphaned = case((model.lease_owner.not_in(alive_workers()), 1))
        held = select(func.count(), func.count(orphaned)).where(model.lease_owner.is_not(None))
        row = session.execute(held).one()
        found[machine.kind] = {"held": row[0], "orphaned": row[1]}
    return found


def workers(session: Session) -> list[Json]:
    """Every process with its heartbeat's age and the leases it holds, by name."""
    listed = session.execute(
        select(Worker, age(Worker.heartbeat_at).label("seconds")).order_by(Worker.node)
    ).all()
    counts, named = _held(session, [row.Worker.worker_id for row in listed])
    return [
        {
            "worker_id": row.Worker.worker_id,
            "node": row.Worker.node,
            "queues": row.Worker.queues,
            "host": row.Worker.host,
            "pid": row.Worker.pid,
            "started_at": row.Worker.started_at.isoformat(),
            "heartbeat_seconds": _rounded(row.seconds),
            "alive": float(row.seconds) < HEARTBEAT_EXPIRY_SECONDS,
            "holds": counts[row.Worker.worker_id],
            "leases": named[row.Worker.worker_id],
            "details": row.Worker.details,
        }
        for row in listed
    ]


def _held(session: Session, owners: Iterable[str]) -> tuple[dict[str, int], dict[str, list[Json]]]:
    """How many leases each owner holds, and the first of them."""
    counts: defaultdict[str, int] = defaultdict(int)
    named: defaultdict[str, list[Json]] = defaultdict(list)
    wanted = list(owners)
    for machine in MACHINES.values():
        model: Any = machine.model
        query = (
            select(model.lease_owner, func.count())
            .where(model.lease_owner.in_(wanted))
            .group_by(model.lease_owner)
        )
        for owner, number in session.execute(query):
            counts[owner] += number
    for owner in counts:
        for machine in MACHINES.values():
            room = SHOWN_LEASES - len(named[owner])
            named[owner] += _leases_of(session, machine, owner, room) if room > 0 else []
    return counts, named


def _leases_of(session: Session, machine: Machine, owner: str, limit: int) -> list[Json]:
    model: Any = machine.model
    key = getattr(model, machine.key)
    query = select(
        key, model.company_id, model.step, model.attempt, age(model.updated_at).label("seconds")
    ).where(model.lease_owner == owner)
    return [
        {
            "kind": machine.kind,
            "id": row[0],
            "company_id": row.company_id,
            "step": row.step,
            "attempt": row.attempt,
            "seconds": _rounded(row.seconds),
        }
        for row in session.execute(query.order_by(model.updated_at).limit(limit))
    ]


def _rounded(seconds: Any) -> float | None:
    return None if seconds is None else round(max(0.0, float(seconds)), 3)
