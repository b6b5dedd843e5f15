"""`admit`: how many of a company's rows may be in the broker at a time, in order of arrival."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cyrex import jobs
from cyrex.companies import lock_company
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
    """Move the oldest queued rows to `admitted`, up to the company's limit.

    The caller publishes the returned rows after its commit; a lost message is re-issued by the
    reconciler.
    """
    model: Any = machine.model
    free = room(session, machine, company_id)
    if free == 0:
        return []
    key = getattr(model, machine.key)
    oldest = (
        select(key)
        .where(model.company_id == company_id, model.status == "queued")
        .order_by(model.created_at, key)
        .limit(free)
    )
    admitted = list(
        session.scalars(
            update(model)
            .where(key.in_(oldest), model.status == "queued")
            .values(
                status="admitted",
                step=func.coalesce(model.step, machine.steps[0]),
                published_at=func.now(),
                publications=1,
                updated_at=func.now(),
            )
            .returning(model)
            .execution_options(populate_existing=True, synchronize_session=False)
        )
    )
    if machine is JOB:
        for row in admitted:
            jobs.updated(session, row)
    return admitted
