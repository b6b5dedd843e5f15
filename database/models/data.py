"""Datasets: their bytes are in the blob store, named by SHA-256."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Integer, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Json, OfCompany, ReferredOfCompany, new_id, same_company


class Dataset(ReferredOfCompany, Base):
    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("company_id", "dataset_id"),)

    dataset_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    examples: Mapped[int] = mapped_column(Integer)
    report: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Example(OfCompany, Base):
    """One line of a dataset: where it is and on which side of the hold-out it falls."""

    __tablename__ = "examples"
    __table_args__ = (
        CheckConstraint("split IN ('train', 'holdout')", name="split"),
        same_company("dataset_id", "datasets.dataset_id", "CASCADE"),
    )

    dataset_id: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(Integer, primary_key=True)
    input_sha256: Mapped[str] = mapped_column(index=True)
    split: Mapped[str]
