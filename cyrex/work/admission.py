"""`admit`: how many of a company's rows may be in the broker at a time, in order of arrival."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Executable, TextClause, and_, func, or_, select, text
from sqlalchemy.orm import Session

from cyrex.jobs import service as jobs
from cyrex.tenants.service import LOCK_ALL, lock_company
from database.transitions import JOB, MACHINES, TOOL_CALL, TRAINING, Machine
from settings import get_settings


def limit_of(machine: Machine) -> int:
    """At most this many rows of one company are with the broker or a worker."""
    settings = get_settings()
    return {
        JOB.kind: settings.jobs_in_broker,
        TRAINING.kind: settings.trainings_in_broker,
        TOOL_CALL.kind: settings.tool_calls_in_broker,
    }[machine.kind]


def is_inside(machine: Machine) -> ColumnElement[bool]:
    """Of a row: it is with the broker or a worker. One that is put off until later is in nobody's
    way meanwhile."""
    model: Any = machine.model
    # The clock, and not the transaction's beginning: others were admitted while it waited.
    return and_(
        model.status.in_(machine.claimable),
        or_(model.published_at.is_(None), model.published_at <= func.clock_timestamp()),
    )


def room(session: Session, machine: Machine, company_id: str) -> int:
    """How many more of the company's rows may be with the broker or a worker.

    The company's row is locked from here on, so two callers never fill the same place.
    """
    model: Any = machine.model
    if not lock_company(session, company_id):
        return 0
    inside = session.scalar(
        select(func.count())
        .select_from(model)
        .where(model.company_id == company_id, is_inside(machine))
    )
    return max(0, limit_of(machine) - (inside or 0))


def admit_rows(session: Session, machine: Machine, company_id: str) -> list[Any]:
    """Move the company's oldest queued rows to `admitted`, up to its limit.

    The caller publishes the returned rows after its commit; a lost message is re-issued by the
    reconciler.
    """
    return admit_companies(session, machine, [company_id])


def admit_companies(session: Session, machine: Machine, company_ids: Collection[str]) -> list[Any]:
    """`admit_rows` for many companies, in as many statements as for one."""
    looked, moved = _statements(machine.kind)
    # Mostly nobody is queued, and to look costs a third of what moving costs that moves nothing.
    waiting = session.scalars(looked, {"companies": sorted(set(company_ids))}).all()
    if not waiting:
        return []
    admitted = list(
        session.scalars(
            moved,
            {
                "companies": waiting,
                "claimable": list(machine.claimable),
                "most": limit_of(machine),
                "first": machine.steps[0],
            },
        )
    )
    if machine is JOB:
        jobs.updated(session, *admitted)
    return admitted


@lru_cache
def _statements(kind: str) -> tuple[TextClause, Executable]:
    """To lock companies and find which of them have queued rows, and to admit those rows."""
    machine = MACHINES[kind]
    model: Any = machine.model
    table = model.__tablename__
    moved = select(model).from_statement(text(OLDEST.format(table=table, key=machine.key)))
    return text(LOCKED + WAITING.format(table=table)), moved.execution_options(
        populate_existing=True
    )


# Sent together with what follows, which sees what was committed until the locks were had.
LOCKED = f"{LOCK_ALL};"
WAITING = """
    SELECT company_id FROM companies
    WHERE company_id = ANY(CAST(:companies AS text[])) AND EXISTS (
        SELECT FROM {table} AS queued
        WHERE queued.company_id = companies.company_id AND queued.status = 'queued'
    )
"""
# One look at the queue of each company; a window over all that is queued would read all of it.
OLDEST = """
    UPDATE {table} SET status = 'admitted', step = coalesce(step, :first), published_at = now(),
        publications = 1, updated_at = now()
    WHERE status = 'queued' AND {key} IN (
        SELECT oldest.{key}
        FROM (
            SELECT company_id, :most - (
                SELECT count(*) FROM {table} AS inside
                WHERE inside.company_id = companies.company_id
                    AND inside.status = ANY(CAST(:claimable AS text[]))
                    AND coalesce(inside.published_at <= clock_timestamp(), true)
            ) AS free
            FROM companies WHERE company_id = ANY(CAST(:companies AS text[]))
        ) AS room
        CROSS JOIN LATERAL (
            SELECT {key} FROM {table}
            WHERE company_id = room.company_id AND status = 'queued'
            ORDER BY created_at, {key} LIMIT greatest(room.free, 0)
        ) AS oldest
    )
    RETURNING *
"""
