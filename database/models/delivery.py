"""How news travels: outbox, inbox, dead letters, webhooks, and the processes that carry it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Identity, Index, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Json, OfCompany, Stepped, new_id


class Outbox(Base):
    """An event that commits with the change it announces; the relay carries it to its stream."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_unpublished", "id", postgresql_where=text("published_at IS NULL")),
        Index(
            "ix_outbox_published",
            "published_at",
            postgresql_where=text("published_at IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    event_id: Mapped[str] = mapped_column(unique=True)
    company_id: Mapped[str | None] = mapped_column(
        ForeignKey("companies.company_id", ondelete="CASCADE"), index=True
    )
    stream: Mapped[str]
    envelope: Mapped[Json]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    published_at: Mapped[datetime | None]


class Inbox(Base):
    """An event that has had its effect, by its producer's id: row and effect are one commit."""

    __tablename__ = "inbox"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str]
    entry_id: Mapped[str]
    outcome: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class DeadLetter(Base):
    """A row or an event that was given up, with its history. kind: of the row, or the stream."""

    __tablename__ = "dead_letters"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]
    reference: Mapped[str] = mapped_column(index=True)
    company_id: Mapped[str | None] = mapped_column(
        ForeignKey("companies.company_id", ondelete="CASCADE"), index=True
    )
    reason: Mapped[str]
    payload: Mapped[Json] = mapped_column(server_default="{}")
    history: Mapped[list[Json]] = mapped_column(server_default="[]")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    replayed_at: Mapped[datetime | None]


class WebhookDelivery(OfCompany, Stepped, Base):
    __tablename__ = "webhook_deliveries"

    delivery_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    url: Mapped[str]
    event: Mapped[Json]
    status_code: Mapped[int | None] = mapped_column(Integer)
    due_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class Canary(Base):
    """The last time that a worker ran a task of no other use from a queue: proof that it works."""

    __tablename__ = "canaries"

    queue: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str]
    # From the sending to the running of the task.
    seconds: Mapped[float]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Worker(Base):
    """A process that runs tasks. Its heartbeat is what keeps its leases: no heartbeat, no lease."""

    __tablename__ = "workers"

    worker_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    node: Mapped[str] = mapped_column(unique=True)
    queues: Mapped[list[str]] = mapped_column(server_default="{}")
    host: Mapped[str]
    pid: Mapped[int] = mapped_column(Integer)
    details: Mapped[Json] = mapped_column(server_default="{}")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
