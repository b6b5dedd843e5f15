"""Datasets: their bytes are in the blob store, named by SHA-256."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, Integer, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Json, OfCompany, ReferredOfCompany, new_id, same_company


class Dataset(ReferredOfCompany, Base):
    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("company_id", "dataset_id"),)

    dataset_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    examples: Mapped[int] = mapped_column(Integer)
    # The company's own examples to evaluate on: JSON lines, as `sha256` names.
    validation_sha256: Mapped[str | None]
    # False: it adds to what the company sent before.
    replaces: Mapped[bool] = mapped_column(server_default="false")
    # The lines that runs on this dataset read: earlier ones that still hold, its own, validation.
    merged_sha256: Mapped[str | None]
    report: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Example(OfCompany, Base):
    """One of a dataset's merged lines: which it is, what it asks, and its side of the hold-out."""

    __tablename__ = "examples"
    __table_args__ = (
        CheckConstraint("split IN ('train', 'holdout')", name="split"),
        same_company("dataset_id", "datasets.dataset_id", "CASCADE"),
        Index("ix_examples_company_question", "company_id", "input_sha256"),
        Index("ix_examples_company_conversation", "company_id", "conversation_sha256"),
    )

    dataset_id: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(Integer, primary_key=True)
    # The group that is held out as one: the question, or the conversation (cyrex.training.split).
    input_sha256: Mapped[str]
    conversation_sha256: Mapped[str | None]
    split: Mapped[str]
