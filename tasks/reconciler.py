"""The reconciler: whatever has not moved is moved again, from rows alone.

A message or a stream entry is a hint that may be lost. Each rule here finds rows that wait for one
and gives it again; the rules are idempotent, and one reconciler runs at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
import structlog
from sqlalchemy import ColumnElement, delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from cyrex import agent_state
from cyrex.endings import end
from database import claims
from database.models import Job, TrainingRun, Worker
from database.session import operator_session
from database.transitions import JOB, MACHINES, TRAINING, Machine
from synapse.outbox import republish, wake
from tasks import dispatch
from tasks.routing import drop_queue
from tasks.worker import presence

log = structlog.get_logger()

# Any constant will do, as long as every reconciler takes the same lock.
RECONCILER_LOCK = 0x726563
BATCH = 500
# A hint that brought no claim for so long is given again, then at doubling intervals: the queue
# may simply be long, and a second hint for a row that waits in it does no good.
HINT_SECONDS = 5.0
MAX_HINT_DOUBLINGS = 8
# An event sent so long ago that no inbox has was lost with its stream.
EVENT_SECONDS = 30.0
GONE_WORKER_SECONDS = 60.0
# After Postgres was away nobody's heartbeat is fresh; the living must get the time to say so.
GRACE_SECONDS = 2 * claims.HEARTBEAT_EXPIRY_SECONDS
EPOCH_KEY = "cyrex:epoch"


def _seconds(value: Any) -> Any:
    return func.make_interval(0, 0, 0, 0, 0, 0, value)


def reconcile() -> None:
    """Apply every rule once. Does nothing while another reconciler runs."""
    hints: list[tuple[Machine, Any]] = []
    gone: list[str] = []
    with operator_session() as session:
        if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:k)"), {"k": RECONCILER_LOCK}):
            return
        if _trustworthy(session):
            hints += _free_orphans(session)
            gone = _forget_workers(session)
        _cancel_idle(session)
        hints += _resume_stranded(session)
        hints += _repeat_hints(session, everything=_broker_is_new())
        waiting = _companies_with_queued_rows(session)
    for node in gone:
        drop_queue(node, dispatch.broker())
    for machine, row in hints:
        if row.status not in machine.terminal:
            dispatch.publish(machine, [row])
    for kind, company_id in waiting:
        dispatch.admit(kind, company_id)
    wake(dispatch.broker())


def republish_lost_events() -> None:
    """Send events again that were sent but had no effect here: their stream was lost."""
    with operator_session() as session:
        sent = republish(session, EVENT_SECONDS)
    if sent:
        log.info("events_republished", count=sent)
        wake(dispatch.broker())


def _trustworthy(session: Session) -> bool:
    """Whether a stale heartbeat means a dead worker: not while the database or we were away."""
    age = func.extract("epoch", func.now() - func.pg_postmaster_start_time())
    up = session.scalar(select(age))
    mine = session.scalar(
        select(func.extract("epoch", func.now() - Worker.heartbeat_at)).where(
            Worker.worker_id == presence().worker_id
        )
    )
    if up is None or mine is None:
        return False
    return bool(up > GRACE_SECONDS and mine < claims.HEARTBEAT_EXPIRY_SECONDS)


def _free_orphans(session: Session) -> Iterator[tuple[Machine, Any]]:
    """Leases of dead workers: another try, or the dead letters after the last."""
    for machine in MACHINES.values():
        for row in claims.orphans(session, machine, BATCH):
            owner = str(row.lease_owner)
            changed = claims.release(session, machine, row, owner, "worker lost")
            if changed is None:
                continue
            log.info("lease_freed", kind=machine.kind, owner=owner, status=changed.status)
            if changed.status in machine.terminal:
                yield from end(session, machine, changed)
            changed.published_at = func.now()
            yield machine, changed


def _cancel_idle(session: Session) -> None:
    """A cancel that arrived while a step ran, and the step has ended since."""
    for machine in (TRAINING, JOB):
        model: Any = machine.model
        rows = session.scalars(
            select(model)
            .where(
                model.cancel_requested,
                model.lease_owner.is_(None),
                model.status.not_in(machine.terminal),
            )
            .limit(BATCH)
        )
        for row in rows.all():
            key = getattr(row, machine.key)
            changed = claims.move(session, machine, key, "cancelled")
            if changed is not None:
                end(session, machine, changed)


def _resume_stranded(session: Session) -> Iterator[tuple[Machine, Any]]:
    """Jobs that wait for a tool call which has ended, or longer than they may."""
    for job_id in agent_state.stranded(session, BATCH):
        resumed = agent_state.resume(session, job_id)
        if resumed is not None:
            log.info("job_resumed", job_id=job_id)
            yield JOB, resumed


def _repeat_hints(session: Session, everything: bool) -> Iterator[tuple[Machine, Any]]:
    """Rows that wait for a worker although the broker should have told one."""
    for machine in MACHINES.values():
        model: Any = machine.model
        doublings = func.greatest(func.least(model.publications - 1, MAX_HINT_DOUBLINGS), 0)
        patience = HINT_SECONDS * func.power(2, doublings)
        waited: ColumnElement[bool] = or_(
            model.published_at.is_(None), model.published_at < func.now() - _seconds(patience)
        )
        guard = [model.status.in_(machine.claimable), model.lease_owner.is_(None)]
        if not everything:
            guard.append(waited)
        chosen = select(getattr(model, machine.key)).where(*guard).limit(BATCH)
        rows = session.scalars(
            update(model)
            .where(getattr(model, machine.key).in_(chosen), *guard)
            .values(published_at=func.now(), publications=model.publications + 1)
            .returning(model)
        ).all()
        yield from ((machine, row) for row in rows)


def _forget_workers(session: Session) -> list[str]:
    """Rows of processes that are long gone; their leases were freed above. Returns their nodes."""
    gone = func.now() - _seconds(GONE_WORKER_SECONDS)
    query = delete(Worker).where(Worker.heartbeat_at < gone).returning(Worker.node)
    return list(session.scalars(query))


def _companies_with_queued_rows(session: Session) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for kind, model in (("training", TrainingRun), ("job", Job)):
        companies = session.scalars(
            select(model.company_id).where(model.status == "queued").distinct().limit(BATCH)
        )
        found += [(kind, company_id) for company_id in companies]
    return found


def _broker_is_new() -> bool:
    """Whether the broker has lost everything since the last tick: then every hint is gone."""
    try:
        return bool(dispatch.broker().set(EPOCH_KEY, "1", nx=True))
    except redis.RedisError:
        return False
