"""Adapters, which of them answers for a company, and why."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Integer, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
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


class LoraAdapter(ReferredOfCompany, Stepped, Base):
    """`sha256` is the hash of the package's manifest: the identity of the adapter's bytes."""

    __tablename__ = "lora_adapters"
    __table_args__ = (
        UniqueConstraint("company_id", "adapter_id"),
        UniqueConstraint("company_id", "version"),
        CheckConstraint("adapter_type IN ('lora', 'qlora')", name="adapter_type"),
    )

    adapter_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    version: Mapped[int] = mapped_column(Integer)
    base_model: Mapped[str]
    base_model_revision: Mapped[str]
    # The hash of the base model's files: a name and revision may hold other weights one day.
    base_sha256: Mapped[str | None]
    adapter_type: Mapped[str]
    adapter_path: Mapped[str | None]
    registry_path: Mapped[str | None]
    sha256: Mapped[str | None]
    request_id: Mapped[str | None] = mapped_column(unique=True)
    config: Mapped[Json] = mapped_column(server_default="{}")
    # `metadata` is taken by SQLAlchemy's declarative classes.
    details: Mapped[Json] = mapped_column("metadata", JSONB, server_default="{}")
    evaluation: Mapped[Json | None]


class AdapterAlias(OfCompany, Timed, Base):
    """The adapters that answer for a company. `version` makes each change a compare-and-swap."""

    __tablename__ = "adapter_aliases"
    __table_args__ = (
        UniqueConstraint("company_id"),
        same_company("champion_id", "lora_adapters.adapter_id"),
        same_company("challenger_id", "lora_adapters.adapter_id"),
        CheckConstraint("challenger_share BETWEEN 0 AND 1", name="share"),
    )

    alias_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    champion_id: Mapped[str | None]
    challenger_id: Mapped[str | None]
    challenger_share: Mapped[float] = mapped_column(server_default="0")
    # The champion stays until a person unpins it, whatever a candidate shows.
    pinned: Mapped[bool] = mapped_column(server_default="false")
    version: Mapped[int] = mapped_column(Integer, server_default="1")


class Decision(OfCompany, Base):
    """Why an adapter was promoted or not: one row for each time `decide` ran to its end."""

    __tablename__ = "decisions"
    __table_args__ = (same_company("adapter_id", "lora_adapters.adapter_id", "CASCADE"),)

    decision_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    adapter_id: Mapped[str] = mapped_column(index=True)
    previous_id: Mapped[str | None]
    outcome: Mapped[str]
    reason: Mapped[str]
    evidence: Mapped[Json] = mapped_column(server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
