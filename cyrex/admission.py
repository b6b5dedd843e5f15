"""`admit`: how many of a company's rows may be in the broker at a time, in order of arrival."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from cyrex import jobs
from cyrex.companies import lock_companies, lock_company
from database.transitions import JOB, TRAINING, Machine
from settings import get_settings


def limit_of(machine: Machine) -> int:
    """At most this many rows of one company are with the broker or a worker."""
    settings = get_settings()
    return {JOB.kind: settings.jobs_in_broker, TRAINING.kind: settings.trainings_in_broker}[
        machine.kind
    ]


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
        .where(model.company_id == company_id, model.status.in_(machine.claimable))
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
    free = _rooms(session, machine, company_ids)
    if not free:
        return []
    model: Any = machine.model
    table, key = model.__tablename__, machine.key
    admitted = list(
        session.scalars(
            select(model)
            .from_statement(text(OLDEST.format(table=table, key=key)))
            .execution_options(populate_existing=True),
            {"companies": list(free), "free": list(free.values()), "first": machine.steps[0]},
        )
    )
    if machine is JOB:
        jobs.updated(session, *admitted)
    return admitted


# One look at the queue of each company; a window over all that is queued would read all of it.
OLDEST = """
    UPDATE {table} SET status = 'admitted', step = coalesce(step, :first), published_at = now(),
        publications = 1, updated_at = now()
    WHERE status = 'queued' AND {key} IN (
        SELECT oldest.{key}
        FROM unnest(CAST(:companies AS text[]), CAST(:free AS int[])) AS room (company_id, free)
        CROSS JOIN LATERAL (
            SELECT {key} FROM {table}
            WHERE company_id = room.company_id AND status = 'queued'
            ORDER BY created_at, {key} LIMIT room.free
        ) AS oldest
    )
    RETURNING *
"""


def _rooms(session: Session, machine: Machine, company_ids: Collection[str]) -> dict[str, int]:
    """`room` of each company that has some."""
    model: Any = machine.model
    known = lock_companies(session, company_ids)
    inside = session.execute(
        select(model.company_id, func.count())
        .where(model.company_id.in_(known), model.status.in_(machine.claimable))
        .group_by(model.company_id)
    )
    counts = {str(each): int(count) for each, count in inside}
    limit = limit_of(machine)
    return {each: limit - counts.get(each, 0) for each in known if counts.get(each, 0) < limit}
