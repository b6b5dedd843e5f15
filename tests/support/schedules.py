"""Schedules that are due, and what came of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from cyrex.schedules import service as schedules
from database.models import RetrainingSchedule, ScheduleFire, TrainingRun
from database.session import company_session, operator_session
from tests.support import rows

HOUR = timedelta(hours=1)


def add(company_id: str, due: timedelta | None = HOUR, **values: Any) -> str:
    """A schedule that has been due for so long."""
    values = values or {"every_hours": 2}
    with company_session(company_id) as session:
        schedule_id = schedules.create_schedule(session, company_id, **values).schedule_id
    if due is not None:
        rows.change(RetrainingSchedule, schedule_id, next_fire_at=datetime.now(UTC) - due)
    return schedule_id


def get(schedule_id: str) -> RetrainingSchedule:
    found: RetrainingSchedule = rows.get(RetrainingSchedule, schedule_id)
    return found


def fires(schedule_id: str) -> list[ScheduleFire]:
    with operator_session() as session:
        return schedules.list_fires(session, schedule_id)


def runs(company_id: str) -> list[TrainingRun]:
    """The company's runs that a schedule asked for."""
    with operator_session() as session:
        query = select(TrainingRun).where(
            TrainingRun.company_id == company_id, TrainingRun.source == "schedule"
        )
        return list(session.scalars(query.order_by(TrainingRun.request_id)))


def count(model: Any, *where: Any) -> int:
    with operator_session() as session:
        return session.scalar(select(func.count()).select_from(model).where(*where)) or 0
