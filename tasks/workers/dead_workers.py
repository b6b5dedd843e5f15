"""The reconciler's rules for dead workers: their rows are freed for others.

A worker of this machine is dead when the kernel says so. Workers of other machines are known only
by their heartbeats, and a stale one means death only where nothing else explains it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from cyrex.work.lease import Hint
from database import claims
from database.base import interval
from database.models import Worker
from database.transitions import HEARTBEAT_EXPIRY_SECONDS, MACHINES
from tasks.workers.leases import free_leases, held_by
from tasks.workers.neighbours import host_scope, start_ticks
from tasks.workers.presence import presence

log = structlog.get_logger()

BATCH = 500
LOST = "worker lost"
GONE_WORKER_SECONDS = 60.0
# After Postgres was away nobody's heartbeat is fresh; the living must get the time to say so.
GRACE_SECONDS = 2 * HEARTBEAT_EXPIRY_SECONDS


@dataclass(frozen=True)
class Released:
    """Freed rows that the broker is to be told of, and the nodes of the dead workers.

    `silent` nodes may come back in a moment; `gone` ones have had the time.
    """

    hints: Sequence[Hint]
    silent: Sequence[str]
    gone: Sequence[str]


def release_dead_workers(session: Session) -> Released:
    """Free what dead workers held, in the caller's transaction."""
    hints, silent = _dead_neighbours(session)
    gone: list[str] = []
    if _trustworthy(session):
        hints += free_leases(session, _orphans(session), LOST)
        gone = _delete_gone(session)
    return Released(hints, silent, gone)


def _dead_neighbours(session: Session) -> tuple[list[Hint], list[str]]:
    """Workers of this machine whose process is gone, whatever their heartbeats say."""
    here = host_scope()
    if here is None:
        return [], []
    listed = session.execute(
        select(Worker.worker_id, Worker.node, Worker.pid, Worker.details["start_ticks"]).where(
            Worker.details["host_scope"].astext == here
        )
    )
    dead = {worker_id: node for worker_id, node, pid, since in listed if start_ticks(pid) != since}
    hints: list[Hint] = []
    for worker_id in dead:
        hints += free_leases(session, held_by(session, worker_id), LOST)
    expired = func.now() - interval(HEARTBEAT_EXPIRY_SECONDS)
    expired_nodes = session.scalars(
        update(Worker)
        .where(Worker.worker_id.in_(dead), Worker.heartbeat_at > expired)
        .values(heartbeat_at=expired)
        .returning(Worker.node)
        .execution_options(synchronize_session=False)
    ).all()
    for node in expired_nodes:
        log.info("worker_has_died", node=node)
    return hints, sorted(dead.values())


def _trustworthy(session: Session) -> bool:
    """True if a stale heartbeat means a dead worker: neither the database nor we were away."""
    age = func.extract("epoch", func.now() - func.pg_postmaster_start_time())
    up = session.scalar(select(age))
    mine = session.scalar(
        select(func.extract("epoch", func.now() - Worker.heartbeat_at)).where(
            Worker.worker_id == presence().worker_id
        )
    )
    if up is None or mine is None:
        return False
    return bool(up > GRACE_SECONDS and mine < HEARTBEAT_EXPIRY_SECONDS)


def _orphans(session: Session) -> Iterator[Hint]:
    for machine in MACHINES.values():
        for row in claims.orphans(session, machine, BATCH):
            yield machine, row


def _delete_gone(session: Session) -> list[str]:
    """Delete the rows of long dead workers, whose leases are free by now. Returns their nodes."""
    gone = func.now() - interval(GONE_WORKER_SECONDS)
    query = delete(Worker).where(Worker.heartbeat_at < gone).returning(Worker.node)
    return list(session.scalars(query))
