"""Training runs, what happened in them, their checkpoints, and when to train again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Identity, Index, Integer, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from database.base import (
    Base,
    Json,
    OfCompany,
    ReferredOfCompany,
    Stepped,
    Timed,
    new_id,
    same_company,
)


class TrainingRun(ReferredOfCompany, Stepped, Base):
    """`config` is what the request asked for; `progress` and `metrics` are what Helox reports."""

    __tablename__ = "training_runs"
    __table_args__ = (
        UniqueConstraint("company_id", "request_id"),
        Index("ix_training_runs_queue", "company_id", "status", "created_at"),
        same_company("dataset_id", "datasets.dataset_id"),
        CheckConstraint("promote IN ('evidence', 'always')", name="promote"),
    )

    request_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    dataset_id: Mapped[str] = mapped_column(index=True)
    base_model: Mapped[str]
    base_model_revision: Mapped[str]
    config: Mapped[Json] = mapped_column(server_default="{}")
    use_qlora: Mapped[bool] = mapped_column(server_default="true")
    seed: Mapped[int] = mapped_column(server_default="0")
    # The adapter whose weights training starts from; none: from the base model.
    continue_from: Mapped[str | None]
    promote: Mapped[str] = mapped_column(server_default="evidence")
    source: Mapped[str]
    correlation_id: Mapped[str | None]
    progress: Mapped[Json] = mapped_column(server_default="{}")
    metrics: Mapped[Json] = mapped_column(server_default="{}")
    # Between train and register: the trained package's manifest hash and the evaluation.
    package_sha256: Mapped[str | None]
    base_sha256: Mapped[str | None]
    evaluation: Mapped[Json | None]
    adapter_id: Mapped[str | None]
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class TrainingEvent(OfCompany, Base):
    __tablename__ = "training_events"
    __table_args__ = (same_company("request_id", "training_runs.request_id", "CASCADE"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    request_id: Mapped[str] = mapped_column(index=True)
    level: Mapped[str] = mapped_column(server_default="info")
    type: Mapped[str]
    message: Mapped[str]
    data: Mapped[Json] = mapped_column(server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TrainingCheckpoint(OfCompany, Base):
    __tablename__ = "training_checkpoints"
    __table_args__ = (
        UniqueConstraint("request_id", "step_number"),
        same_company("request_id", "training_runs.request_id", "CASCADE"),
    )

    checkpoint_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    request_id: Mapped[str] = mapped_column(index=True)
    attempt: Mapped[int] = mapped_column(Integer)
    step_number: Mapped[int] = mapped_column(Integer)
    # One blob: a tar of the checkpoint's files.
    sha256: Mapped[str] = mapped_column(index=True)
    size_bytes: Mapped[int] = mapped_column(server_default="0")
    metrics: Mapped[Json] = mapped_column(server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RetrainingSchedule(ReferredOfCompany, Timed, Base):
    """When to train again: `cron`, read in the IANA zone `timezone`, or `every_hours` from its
    creation. `config` is the trainer's; beat's tick fires what is due."""

    __tablename__ = "retraining_schedules"
    __table_args__ = (
        UniqueConstraint("company_id", "schedule_id"),
        CheckConstraint("(cron IS NULL) <> (every_hours IS NULL)", name="cron_or_hours"),
        Index("ix_retraining_schedules_due", "next_fire_at", postgresql_where=text("enabled")),
    )

    schedule_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(server_default="")
    cron: Mapped[str | None]
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    every_hours: Mapped[int | None] = mapped_column(Integer)
    min_new_examples: Mapped[int] = mapped_column(Integer, server_default="0")
    config: Mapped[Json] = mapped_column(server_default="{}")
    use_qlora: Mapped[bool] = mapped_column(server_default="true")
    enabled: Mapped[bool] = mapped_column(server_default="true")
    next_fire_at: Mapped[datetime]
    last_fire_at: Mapped[datetime | None]


class ScheduleFire(OfCompany, Base):
    """The outcome of one due moment of a schedule; there is one row for each, ever."""

    __tablename__ = "schedule_fires"
    __table_args__ = (
        same_company("schedule_id", "retraining_schedules.schedule_id", "CASCADE"),
        same_company("request_id", "training_runs.request_id", "SET NULL (request_id)"),
        CheckConstraint("outcome IN ('requested', 'skipped')", name="outcome"),
    )

    schedule_id: Mapped[str] = mapped_column(primary_key=True)
    fire_at: Mapped[datetime] = mapped_column(primary_key=True)
    outcome: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    request_id: Mapped[str | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
