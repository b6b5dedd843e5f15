"""Training runs, what happened in them, their checkpoints, and when to train again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Identity, Index, Integer, UniqueConstraint, func
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
    )

    request_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    dataset_id: Mapped[str] = mapped_column(index=True)
    base_model: Mapped[str]
    base_model_revision: Mapped[str]
    config: Mapped[Json] = mapped_column(server_default="{}")
    use_qlora: Mapped[bool] = mapped_column(server_default="true")
    seed: Mapped[int] = mapped_column(server_default="0")
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
    sha256: Mapped[str]
    metrics: Mapped[Json] = mapped_column(server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RetrainingSchedule(OfCompany, Timed, Base):
    """`cron` is read in the IANA zone `timezone`; beat fires what is due."""

    __tablename__ = "retraining_schedules"

    schedule_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    cron: Mapped[str]
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    config: Mapped[Json] = mapped_column(server_default="{}")
    enabled: Mapped[bool] = mapped_column(server_default="true")
    next_fire_at: Mapped[datetime] = mapped_column(index=True)
    last_fire_at: Mapped[datetime | None]
