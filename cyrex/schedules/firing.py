"""Fire due schedules: one transaction claims them, adds their runs and sets their next dates.

Any number of beats may fire at the same moment: a row that one has claimed the others skip, and
a due moment has one row in `schedule_fires`. A schedule that was due many times while nobody
fired is fired once.
"""

from __future__ import annotations

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from cyrex.errors import UserError
from cyrex.schedules.service import next_fire, now_of
from cyrex.tenants.service import lock_companies
from cyrex.training.order import TrainingOrder
from cyrex.training.service import request_training
from database.models import Dataset, RetrainingSchedule, ScheduleFire, TrainingRun
from database.session import operator_session
from database.transitions import TRAINING

log = structlog.get_logger()

# Schedules per transaction; other beats skip them until it commits.
BATCH = 50
# How long the history of a schedule is kept.
HISTORY_DAYS = 90


class Skipped(Exception):
    """A schedule is due, and there is a reason not to train."""


def fire_due() -> int:
    """Fire every schedule that is due; returns how many."""
    fired = 0
    while found := _fire_batch():
        fired += found
    return fired


def _fire_batch() -> int:
    with operator_session() as session:
        due = session.scalars(
            select(RetrainingSchedule)
            .where(RetrainingSchedule.enabled, RetrainingSchedule.next_fire_at <= func.now())
            .order_by(RetrainingSchedule.next_fire_at)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        lock_companies(session, {schedule.company_id for schedule in due})
        for schedule in due:
            _fire(session, schedule)
    return len(due)


def _fire(session: Session, schedule: RetrainingSchedule) -> None:
    fire_at = schedule.next_fire_at
    fire = ScheduleFire(
        schedule_id=schedule.schedule_id,
        company_id=schedule.company_id,
        fire_at=fire_at,
        outcome="skipped",
    )
    try:
        schedule.next_fire_at = next_fire(schedule, now_of(session), fire_at)
        with session.begin_nested():
            run = _train(session, schedule)
        fire.outcome, fire.request_id = "requested", run.request_id
    except (Skipped, UserError) as reason:
        fire.reason = str(reason)
        if schedule.next_fire_at == fire_at:
            # Its zone or day no longer exists: off until somebody changes it.
            schedule.enabled = False
    schedule.last_fire_at = fire_at
    session.add(fire)
    session.flush()
    log.info("schedule_fired", schedule_id=schedule.schedule_id, outcome=fire.outcome)


def _train(session: Session, schedule: RetrainingSchedule) -> TrainingRun:
    """Raises `Skipped`, and `UserError` for a configuration that is not valid any more."""
    company_id = schedule.company_id
    dataset = session.scalar(
        select(Dataset)
        .where(Dataset.company_id == company_id)
        .order_by(Dataset.dataset_id.desc())
        .limit(1)
    )
    if dataset is None:
        raise Skipped("the company has no dataset yet")
    if _is_training(session, schedule):
        raise Skipped("the training of the time before has not ended")
    if schedule.min_new_examples:
        found = new_examples(session, company_id)
        if found < schedule.min_new_examples:
            raise Skipped(
                f"{found} new examples since the last training, "
                f"at least {schedule.min_new_examples} are wanted"
            )
    order = TrainingOrder(
        company_id,
        schedule.config,
        schedule.use_qlora,
        source="schedule",
        asked_by=f"schedule {schedule.name}".rstrip(),
        details={"schedule_id": schedule.schedule_id},
    )
    return request_training(session, order, dataset)


def _is_training(session: Session, schedule: RetrainingSchedule) -> bool:
    mine = select(ScheduleFire.request_id).where(
        ScheduleFire.schedule_id == schedule.schedule_id, ScheduleFire.request_id.is_not(None)
    )
    query = select(TrainingRun.request_id).where(
        TrainingRun.request_id.in_(mine), TrainingRun.status.not_in(TRAINING.terminal)
    )
    return session.scalar(query.limit(1)) is not None


def new_examples(session: Session, company_id: str) -> int:
    """Examples in the company's datasets that came after the newest one trained on."""
    trained = select(func.coalesce(func.max(TrainingRun.dataset_id), "")).where(
        TrainingRun.company_id == company_id,
        TrainingRun.status.not_in(("failed", "cancelled")),
    )
    count = session.scalar(
        select(func.coalesce(func.sum(Dataset.examples), 0)).where(
            Dataset.company_id == company_id, Dataset.dataset_id > trained.scalar_subquery()
        )
    )
    return int(count or 0)


def forget_old() -> int:
    """Delete the history that is past its age; returns how many rows."""
    old = func.now() - func.make_interval(0, 0, 0, HISTORY_DAYS)
    with operator_session() as session:
        return len(
            session.execute(
                delete(ScheduleFire)
                .where(ScheduleFire.created_at < old)
                .returning(ScheduleFire.fire_at)
            ).all()
        )
