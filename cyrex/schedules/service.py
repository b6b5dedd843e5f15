"""When a company trains again by itself: its schedules, kept as rows.

The clock is the database's. `every_hours` counts hours that pass from the schedule's creation;
`cron` is read by the clock of its time zone (`cyrex.schedules.cron` says what a change of clocks
does).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cyrex.errors import Conflict, NotFound, UserError
from cyrex.schedules.cron import Cron, CronRefused, zone_of
from cyrex.tenants.service import count_locked
from cyrex.training.check import check_config
from cyrex.training.order import quantised_by_default
from database.models import RetrainingSchedule, ScheduleFire

MAX_SCHEDULES = 100
MAX_HOURS = 8760
MAX_NEW_EXAMPLES = 10_000_000
CHANGEABLE = (
    *("name", "cron", "every_hours", "timezone", "min_new_examples", "config", "use_qlora"),
    "enabled",
)


def now_of(session: Session) -> datetime:
    """The database's clock: every beat and every machine goes by it."""
    moment: datetime = session.scalars(select(func.now())).one()
    return moment.astimezone(UTC)


def next_fire(schedule: RetrainingSchedule, after: datetime, base: datetime) -> datetime:
    """The first moment after `after` at which it is due; hours count from `base`.

    Raises `UserError`, which names the field.
    """
    if schedule.every_hours is not None:
        step = timedelta(hours=schedule.every_hours)
        return base + step * ((after - base) // step + 1)
    field, value = "timezone", schedule.timezone
    try:
        zone = zone_of(schedule.timezone)
        field, value = "cron", str(schedule.cron)
        return Cron.parse(value).next_after(after, zone)
    except CronRefused as error:
        raise UserError(f"invalid_{field}", f"{field}: {error}", field) from None


def _check(schedule: RetrainingSchedule) -> None:
    """Raises `UserError`, which names the field and the limit."""
    if (schedule.cron is None) == (schedule.every_hours is None):
        message = "cron: cron or every_hours must be given, and not both"
        raise UserError("invalid_schedule", message, "cron")
    hours, examples = schedule.every_hours, schedule.min_new_examples
    if hours is not None and not 1 <= hours <= MAX_HOURS:
        raise UserError("invalid_every_hours", f"every_hours: 1 to {MAX_HOURS}", "every_hours")
    if not 0 <= examples <= MAX_NEW_EXAMPLES:
        message = f"min_new_examples: must be from 0 to {MAX_NEW_EXAMPLES}"
        raise UserError("invalid_min_new_examples", message, "min_new_examples")
    schedule.config = check_config(schedule.config)


def create_schedule(session: Session, company_id: str, **values: Any) -> RetrainingSchedule:
    """Insert a schedule; `values` are those of `CHANGEABLE`. Raises `UserError`, `Conflict`."""
    if count_locked(session, RetrainingSchedule, company_id) >= MAX_SCHEDULES:
        raise Conflict("too_many_schedules", f"a company may have {MAX_SCHEDULES} schedules")
    given = {"timezone": "UTC", "min_new_examples": 0, "config": {}, **values}
    if given.get("use_qlora") is None:
        given["use_qlora"] = quantised_by_default()
    schedule = RetrainingSchedule(company_id=company_id, **given)
    _check(schedule)
    now = now_of(session)
    schedule.next_fire_at = next_fire(schedule, now, now)
    session.add(schedule)
    session.flush()
    session.refresh(schedule)
    return schedule


def get_schedule(session: Session, schedule_id: str, lock: bool = False) -> RetrainingSchedule:
    """Raises `NotFound`, also for another company's."""
    row = session.get(RetrainingSchedule, schedule_id, with_for_update=lock or None)
    if row is None:
        message = f"there is no schedule {schedule_id!r}"
        raise NotFound("schedule_not_found", message, "schedule_id")
    return row


def list_schedules(
    session: Session, company_id: str | None, limit: int = 50, after: str | None = None
) -> list[RetrainingSchedule]:
    """Newest first; `after` is the last id of the page before."""
    query = select(RetrainingSchedule).order_by(RetrainingSchedule.schedule_id.desc()).limit(limit)
    if company_id is not None:
        query = query.where(RetrainingSchedule.company_id == company_id)
    if after is not None:
        query = query.where(RetrainingSchedule.schedule_id < after)
    return list(session.scalars(query))


def update_schedule(
    session: Session, schedule_id: str, changes: Mapping[str, Any]
) -> RetrainingSchedule:
    """Change what `changes` names; `cron` takes the place of `every_hours`, and the reverse.

    A schedule whose time changes, or that is enabled again, is next due after now: what it missed
    meanwhile is not made up for. Raises `NotFound`, `UserError`.
    """
    schedule = get_schedule(session, schedule_id, lock=True)
    with session.no_autoflush:
        before = (schedule.cron, schedule.every_hours, schedule.timezone, schedule.enabled)
        wanted = dict(changes)
        if wanted.get("cron") is not None:
            wanted = {"every_hours": None, **wanted}
        if wanted.get("every_hours") is not None:
            wanted = {"cron": None, **wanted}
        for name in CHANGEABLE:
            if name in wanted:
                setattr(schedule, name, wanted[name])
        _check(schedule)
        if before != (schedule.cron, schedule.every_hours, schedule.timezone, schedule.enabled):
            now = now_of(session)
            schedule.next_fire_at = next_fire(schedule, now, now)
    session.flush()
    session.refresh(schedule)
    return schedule


def delete_schedule(session: Session, schedule_id: str) -> None:
    """Remove a schedule and its history; runs that it began go on. Raises `NotFound`."""
    session.delete(get_schedule(session, schedule_id, lock=True))
    session.flush()


def list_fires(session: Session, schedule_id: str, limit: int = 50) -> list[ScheduleFire]:
    """The results of its due moments, newest first. Raises `NotFound`."""
    get_schedule(session, schedule_id)
    query = select(ScheduleFire).where(ScheduleFire.schedule_id == schedule_id)
    return list(session.scalars(query.order_by(ScheduleFire.fire_at.desc()).limit(limit)))


def schedule_view(row: RetrainingSchedule) -> dict[str, Any]:
    """A schedule as JSON."""
    return {
        "schedule_id": row.schedule_id,
        "company_id": row.company_id,
        **{name: getattr(row, name) for name in CHANGEABLE},
        "next_fire_at": row.next_fire_at.isoformat() if row.enabled else None,
        "last_fire_at": row.last_fire_at.isoformat() if row.last_fire_at else None,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
    }


def fire_view(row: ScheduleFire) -> dict[str, Any]:
    """One due moment as JSON."""
    return {
        "fire_at": row.fire_at.isoformat(),
        "outcome": row.outcome,
        "reason": row.reason,
        "request_id": row.request_id,
        "created_at": row.created_at.isoformat(),
    }
