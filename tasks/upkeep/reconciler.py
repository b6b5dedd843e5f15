"""The reconciler: rows that have not moved are moved again, from rows alone.

A message or a stream entry is a hint that may be lost. Each rule here finds rows that wait for one
and gives it again; the rules are idempotent, and one reconciler runs at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import redis
import structlog
from sqlalchemy import ColumnElement, func, or_, select, text, update
from sqlalchemy.orm import Session

from cyrex.agents import state as agent_state
from cyrex.recovery.dead_ends import fail_dead_ends
from cyrex.recovery.kinds import end
from cyrex.work.admission import limit_of, places_taken
from cyrex.work.lease import Hint
from database import claims
from database.base import interval
from database.session import operator_session
from database.transitions import (
    EVENT_SECONDS,
    HINT_SECONDS,
    JOB,
    MACHINES,
    TRAINING,
)
from synapse.outbox import republish, wake
from tasks.broker import dispatch
from tasks.broker.connection import broker
from tasks.broker.routing import drop_queue, hand_over_queue
from tasks.workers import dead_workers

log = structlog.get_logger()

# Any constant, as long as every reconciler takes the same lock.
RECONCILER_LOCK = 0x726563
BATCH = 500
MAX_HINT_DOUBLINGS = 8
# Oldest events that are looked for at each tick.
YOUNG_SECONDS = 600.0
EPOCH_KEY = "cyrex:epoch"
RESTARTED_KEY = "cyrex:epoch:restarted"
# A server that seems to start anew all the time is a proxy before several: that costs no more than
# one repetition of all hints in so many seconds.
RESTART_SECONDS = 30
# Longest tick when there are more hints to give than a batch holds.
HURRY_SECONDS = 30.0


def reconcile() -> None:
    """Apply every rule once. Does nothing while another reconciler runs."""
    new_broker = _new_broker()
    with operator_session() as session:
        if not _alone(session):
            return
        released = dead_workers.release_dead_workers(session)
        _cancel_idle(session)
        for machine, row in fail_dead_ends(session, BATCH):
            log.warning("dead_end", kind=machine.kind, company_id=row.company_id, error=row.error)
        if new_broker is not None:
            _forget_hints(session)
            republish(session, 0)
        due = _due_hints(session)
        stranded = agent_state.stranded(session, BATCH)
        waiting = _companies_with_room(session)
    for node in released.silent:
        hand_over_queue(node, broker())
    for node in released.gone:
        drop_queue(node, broker())
    _publish([*released.hints, *due])
    if new_broker is not None:
        log.warning("broker_is_new")
        remember_broker(new_broker)
    _resume(stranded)
    for kind, company_id in waiting:
        dispatch.admit(kind, company_id)
    wake(broker())
    if len(due) >= BATCH:
        _publish_the_rest()


def _alone(session: Session) -> bool:
    """Take the reconcilers' lock until the transaction ends, or see that another has it."""
    taken = text("SELECT pg_try_advisory_xact_lock(:k)")
    return bool(session.scalar(taken, {"k": RECONCILER_LOCK}))


def _publish(hints: Iterable[Hint]) -> None:
    by_kind: dict[str, list[Any]] = {}
    for machine, row in hints:
        if row.status not in machine.terminal:
            by_kind.setdefault(machine.kind, []).append(row)
    for kind, rows in by_kind.items():
        dispatch.publish(MACHINES[kind], rows)


def _publish_the_rest() -> None:
    """After a broker was lost there are many hints to give, batch after batch."""
    ends = time.monotonic() + HURRY_SECONDS
    due: list[Hint] = []
    while time.monotonic() < ends:
        with operator_session() as session:
            due = list(_due_hints(session)) if _alone(session) else []
        _publish(due)
        if len(due) < BATCH:
            return


def republish_lost_events(all_of_them: bool = False) -> None:
    """Send events again that were sent but had no effect here: their stream was lost.

    Often the young ones, and `all_of_them` from time to time: those are many to look through.
    """
    with operator_session() as session:
        sent = republish(session, EVENT_SECONDS, None if all_of_them else YOUNG_SECONDS)
    if sent:
        log.info("events_republished", count=sent)
        wake(broker())


def _cancel_idle(session: Session) -> None:
    """End rows whose cancel arrived while a step ran that has ended since."""
    for machine in (TRAINING, JOB):
        model: Any = machine.model
        rows = session.scalars(
            select(model)
            .where(
                model.cancel_requested,
                model.lease_owner.is_(None),
                model.status.in_(machine.sources("cancelled")),
            )
            .limit(BATCH)
        )
        for row in rows.all():
            key = getattr(row, machine.key)
            changed = claims.move(session, machine, key, "cancelled")
            if changed is not None:
                end(session, machine, changed)


def _resume(job_ids: Iterable[str]) -> None:
    """Resume jobs whose tool call has ended, or that wait longer than they may.

    Each in its own transaction: it locks its company, and whoever holds that may want a row that
    another rule has changed.
    """
    for job_id in job_ids:
        with operator_session() as session:
            resumed = agent_state.resume(session, job_id)
        log.info("job_resumed", job_id=job_id)
        if resumed is not None:
            dispatch.publish(JOB, [resumed])


def _forget_hints(session: Session) -> None:
    """Make every hint due: the broker that had them is gone."""
    for machine in MACHINES.values():
        model: Any = machine.model
        session.execute(
            update(model)
            .where(model.status.in_(machine.claimable), model.lease_owner.is_(None))
            .values(published_at=None, publications=0)
            .execution_options(synchronize_session=False)
        )


def _due_hints(session: Session) -> list[Hint]:
    """Rows whose hint brought no claim in time, the longest waiting first."""
    found: list[Hint] = []
    for machine in MACHINES.values():
        model: Any = machine.model
        key = getattr(model, machine.key)
        doublings = func.greatest(func.least(model.publications - 1, MAX_HINT_DOUBLINGS), 0)
        patience = HINT_SECONDS * func.power(2, doublings)
        waited: ColumnElement[bool] = or_(
            model.published_at.is_(None), model.published_at < func.now() - interval(patience)
        )
        guard = [model.status.in_(machine.claimable), model.lease_owner.is_(None), waited]
        chosen = (
            select(key)
            .where(*guard)
            .order_by(model.published_at.asc().nulls_first(), key)
            .limit(BATCH)
        )
        rows = session.scalars(
            update(model)
            .where(key.in_(chosen), *guard)
            .values(published_at=func.now(), publications=model.publications + 1)
            .returning(model)
            .execution_options(populate_existing=True, synchronize_session=False)
        ).all()
        found += [(machine, row) for row in rows]
    return found


def _companies_with_room(session: Session) -> list[tuple[str, str]]:
    """Companies with queued rows and room for them in the broker, the longest waiting first."""
    found: list[tuple[str, str]] = []
    for machine in MACHINES.values():
        if not machine.admitted:
            continue
        model: Any = machine.model
        queued = (
            select(model.company_id, func.min(model.created_at).label("since"))
            .where(model.status == "queued")
            .group_by(model.company_id)
            .subquery("queued")
        )
        room = text(f"{places_taken(machine, 'queued.company_id')} < :most")
        companies = session.scalars(
            select(queued.c.company_id)
            .where(room.bindparams(most=limit_of(machine)))
            .order_by(queued.c.since, queued.c.company_id)
            .limit(BATCH)
        )
        found += [(machine.kind, company_id) for company_id in companies]
    return found


def _new_broker() -> str | None:
    """The broker's id when it is not the one that was given the hints: it has started anew, or was
    emptied. None: it is the same, or away."""
    client = broker()
    try:
        run_id = _run_id()
        known = client.get(EPOCH_KEY)
        if known == run_id.encode():
            return None
        if known is not None and not client.set(RESTARTED_KEY, "1", ex=RESTART_SECONDS, nx=True):
            return None
    except redis.RedisError:
        return None
    return run_id


def remember_broker(run_id: str | None = None) -> None:
    """Note that this broker has all hints. A lost note costs hints that nobody needs."""
    try:
        broker().set(EPOCH_KEY, run_id or _run_id())
    except redis.RedisError as error:
        log.info("broker_not_remembered", error=str(error))


def _run_id() -> str:
    """A server draws a new one each time it starts."""
    server: Any = broker().info("server")
    return str(server["run_id"])
