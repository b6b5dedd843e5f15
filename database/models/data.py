"""Datasets: their bytes are in the blob store, named by SHA-256."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Integer, func
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Json, OfCompany, new_id


class Dataset(OfCompany, Base):
    __tablename__ = "datasets"

    dataset_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    examples: Mapped[int] = mapped_column(Integer)
    report: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Example(OfCompany, Base):
    """One line of a dataset: where it is and on which side of the hold-out it falls."""

    __tablename__ = "examples"
    __table_args__ = (CheckConstraint("split IN ('train', 'holdout')", name="split"),)

    dataset_id: Mapped[str] = mapped_column(
        ForeignKey("datasets.dataset_id", ondelete="CASCADE"), primary_key=True
    )
    line: Mapped[int] = mapped_column(Integer, primary_key=True)
    input_sha256: Mapped[str] = mapped_column(index=True)
    split: Mapped[str]


class Feedback(OfCompany, Base):
    """What a person says of a job's answer; a correction becomes training data."""

    __tablename__ = "feedback"

    feedback_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[str] = mapped_column(
        ForeignKey("company_automation_jobs.job_id", ondelete="CASCADE"), index=True
    )
    rating: Mapped[int | None] = mapped_column(Integer)
    correction: Mapped[Json | None]
    comment: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
