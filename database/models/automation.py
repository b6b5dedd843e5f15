"""Automation jobs and what they are made of: steps, tool calls, agents, tools, memory."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Computed, Index, Integer, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
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


class Job(ReferredOfCompany, Stepped, Base):
    """`output_data` holds result, tool_results, confidence and usage once the job has ended."""

    __tablename__ = "company_automation_jobs"
    __table_args__ = (
        UniqueConstraint("company_id", "job_id"),
        # Each index is written with every change of a status: those that most rows are not in
        # leave them out.
        Index(
            "ix_company_automation_jobs_open",
            "company_id",
            "status",
            "created_at",
            postgresql_where=text("status IN ('queued', 'admitted', 'running', 'waiting')"),
        ),
        Index(
            "ix_company_automation_jobs_held",
            "lease_owner",
            postgresql_where=text("lease_owner IS NOT NULL"),
        ),
        Index(
            "ix_company_automation_jobs_payloads",
            "completed_at",
            postgresql_where=text("payload_removed_at IS NULL AND completed_at IS NOT NULL"),
        ),
    )

    status: Mapped[str] = mapped_column()
    lease_owner: Mapped[str | None] = mapped_column()

    job_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    job_type: Mapped[str]
    input_data: Mapped[Json]
    output_data: Mapped[Json | None]
    use_adapter: Mapped[bool] = mapped_column(server_default="true")
    # Set when the job is first claimed, so that a rollback reaches what is queued.
    adapter_id: Mapped[str | None]
    adapter_sha256: Mapped[str | None]
    adapter_resolved: Mapped[bool] = mapped_column(server_default="false")
    agent_id: Mapped[str | None]
    details: Mapped[Json] = mapped_column("metadata", JSONB, server_default="{}")
    source: Mapped[str] = mapped_column(server_default="api")
    deadline_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    # From then on the row says that there was a job, and no more what it was about.
    payload_removed_at: Mapped[datetime | None]


class JobStep(OfCompany, Base):
    """One turn of the model in a job. A step is written once; a rerun finds it and goes on."""

    __tablename__ = "job_steps"
    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        same_company("job_id", "company_automation_jobs.job_id", "CASCADE"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[str]
    number: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str]
    content: Mapped[Json]
    confidence: Mapped[float | None]
    prompt_tokens: Mapped[int] = mapped_column(Integer, server_default="0")
    completion_tokens: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ToolCall(OfCompany, Stepped, Base):
    """`sent_at` is committed before the first byte of the request leaves: from then on the tool
    may have acted. `sent_under` says to which idempotent tool it was sent; null: to none."""

    __tablename__ = "tool_calls"
    __table_args__ = (same_company("job_id", "company_automation_jobs.job_id", "CASCADE"),)

    call_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[str] = mapped_column(index=True)
    tool_name: Mapped[str]
    arguments: Mapped[Json]
    result: Mapped[Json | None]
    sent_at: Mapped[datetime | None]
    sent_under: Mapped[str | None]


class CompanyTool(OfCompany, Timed, Base):
    """`tool_config` holds no secret: those are in `secrets`, encrypted."""

    __tablename__ = "company_tools"
    __table_args__ = (UniqueConstraint("company_id", "tool_name"),)

    tool_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    tool_name: Mapped[str]
    tool_config: Mapped[Json]
    secrets: Mapped[bytes | None]


class Agent(OfCompany, Timed, Base):
    __tablename__ = "agents"
    __table_args__ = (UniqueConstraint("company_id", "name"),)

    agent_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    prompt: Mapped[str] = mapped_column(server_default="")
    tools: Mapped[list[str]] = mapped_column(server_default="{}")
    limits: Mapped[Json] = mapped_column(server_default="{}")


class CompanyMemory(OfCompany, Base):
    __tablename__ = "company_memory"
    __table_args__ = (
        Index("ix_company_memory_words", "words", postgresql_using="gin"),
        Index("ix_company_memory_company_id_memory_id", "company_id", "memory_id"),
        same_company("job_id", "company_automation_jobs.job_id", "SET NULL (job_id)"),
    )

    memory_id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[str | None] = mapped_column(unique=True)
    kind: Mapped[str]
    content: Mapped[str]
    words: Mapped[str] = mapped_column(
        TSVECTOR, Computed("to_tsvector('simple', content)", persisted=True)
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
