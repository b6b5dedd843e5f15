"""`admit`: how many of a company's rows may be in the broker at a time, in order of arrival."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from sqlalchemy import Executable, TextClause, select, text
from sqlalchemy.orm import Session

from cyrex.tenants.service import LOCK_ALL, lock_company
from cyrex.work.news import updated
from database.transitions import JOB, MACHINES, Machine
from settings import get_settings


def limit_of(machine: Machine) -> int:
    """At most this many rows of one company are with the broker or a worker."""
    assert machine.broker_limit is not None, f"{machine.kind}: not admitted"
    limit: int = getattr(get_settings(), machine.broker_limit)
    return limit


def places_taken(machine: Machine, company: str) -> str:
    """SQL: how many rows of a company are with the broker or a worker. The only definition.

    company: the SQL expression of its id. A row that is put off until later takes no place
    meanwhile.
    """
    states = ", ".join(f"'{state}'" for state in machine.claimable)
    # The clock, and not the transaction's beginning: others were admitted while it waited.
    return f"""(
        SELECT count(*) FROM {machine.model.__tablename__} AS inside
        WHERE inside.company_id = {company} AND inside.status IN ({states})
            AND coalesce(inside.published_at <= clock_timestamp(), true)
    )"""


def room(session: Session, machine: Machine, company_id: str) -> int:
    """How many more of the company's rows may be with the broker or a worker.

    The company's row is locked from here on, so two callers never fill the same place.
    """
    if not lock_company(session, company_id):
        return 0
    query = text(f"SELECT {places_taken(machine, ':company')}")
    taken: int = session.scalars(query, {"company": company_id}).one()
    return max(0, limit_of(machine) - taken)


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
                "most": limit_of(machine),
                "first": machine.steps[0],
            },
        )
    )
    if machine is JOB:
        updated(session, *admitted)
    return admitted


@lru_cache
def _statements(kind: str) -> tuple[TextClause, Executable]:
    """To lock companies and find which of them have queued rows, and to admit those rows."""
    machine = MACHINES[kind]
    model: Any = machine.model
    table = model.__tablename__
    taken = places_taken(machine, "companies.company_id")
    oldest = OLDEST.format(table=table, key=machine.key, taken=taken)
    moved = select(model).from_statement(text(oldest))
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
            SELECT company_id, :most - {taken} AS free
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
