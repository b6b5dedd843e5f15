"""Companies, their keys, the answers kept for repeated requests, and what they used."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Integer, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Json, OfCompany, Timed, new_id


class Company(Timed, Base):
    __tablename__ = "companies"

    company_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    context: Mapped[Json] = mapped_column(server_default="{}")


class ApiKey(Base):
    """`cx_<prefix>_<secret>`: the prefix finds the row, the secret is kept only as its SHA-256."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("(scope = 'operator') = (company_id IS NULL)", name="scope_company"),
        CheckConstraint("scope IN ('operator', 'company')", name="scope"),
    )

    prefix: Mapped[str] = mapped_column(primary_key=True)
    secret_sha256: Mapped[str]
    scope: Mapped[str]
    company_id: Mapped[str | None] = mapped_column(
        ForeignKey("companies.company_id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """The answer given to a request, repeated to whoever sends the same key and body again.

    `owner` is the company, or `(operator)`, which is no company's id.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("owner", "route", "key"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    owner: Mapped[str]
    route: Mapped[str]
    key: Mapped[str]
    body_sha256: Mapped[str]
    status_code: Mapped[int | None] = mapped_column(Integer)
    answer: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Usage(OfCompany, Base):
    __tablename__ = "usage"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]
    reference: Mapped[str] = mapped_column(unique=True)
    adapter_id: Mapped[str | None]
    prompt_tokens: Mapped[int] = mapped_column(server_default="0")
    completion_tokens: Mapped[int] = mapped_column(server_default="0")
    trained_tokens: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
