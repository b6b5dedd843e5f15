"""Automation jobs as their company sees them: ask, look, cancel; and what a worker does to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cyrex.adapters import champion_of
from cyrex.engine import Completion
from cyrex.errors import Conflict, NotFound
from database import claims
from database.base import new_id
from database.models import Job, JobStep, Usage
from database.transitions import JOB
from settings import get_settings
from synapse.outbox import announce
from synapse.streams import COMPANY_AUTOMATION_JOBS

DEFAULT_TASK_TYPE = "automation"


def create_job(
    session: Session,
    company_id: str,
    data: Any,
    task_type: str = DEFAULT_TASK_TYPE,
    use_adapter: bool = True,
    metadata: dict[str, Any] | None = None,
    job_id: str | None = None,
    source: str = "api",
) -> Job:
    """Insert a queued job; the caller commits and then calls `admit`."""
    job = Job(
        job_id=job_id or new_id(),
        company_id=company_id,
        job_type=task_type,
        input_data={"data": data},
        use_adapter=use_adapter,
        details=metadata or {},
        source=source,
        status="queued",
        step=JOB.steps[0],
        deadline_at=datetime.now(UTC) + timedelta(seconds=get_settings().job_seconds),
    )
    session.add(job)
    session.flush()
    return job


def get_job(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound("job_not_found", f"there is no job {job_id!r}", "job_id")
    return job


def list_jobs(
    session: Session, limit: int = 50, after: str | None = None, status: str | None = None
) -> list[Job]:
    """Newest first; `after` is the last id of the page before."""
    query = select(Job).order_by(Job.job_id.desc()).limit(limit)
    if after is not None:
        query = query.where(Job.job_id < after)
    if status is not None:
        query = query.where(Job.status == status)
    return list(session.scalars(query))


def cancel_job(session: Session, job_id: str) -> Job:
    """Cancel a job: at once if no worker has it, else its owner drops it.

    Raises `NotFound`, and `Conflict` when the job has ended.
    """
    job = get_job(session, job_id)
    moved: Job | None = claims.move(session, JOB, job_id, "cancelled", cancel_requested=True)
    if moved is not None:
        end(session, moved)
        return moved
    asked: Job | None = session.scalar(
        update(Job)
        .where(Job.job_id == job_id, Job.status.not_in(JOB.terminal))
        .values(cancel_requested=True)
        .returning(Job)
    )
    if asked is None:
        raise Conflict("already_ended", f"the job has ended: {job.status}", "job_id")
    return asked


def resolve_adapter(session: Session, job: Job) -> None:
    """Bind the job to its company's champion of this moment, once. Called inside the claim."""
    if job.adapter_resolved:
        return
    champion = champion_of(session, job.company_id) if job.use_adapter else None
    job.adapter_id = champion.adapter_id if champion else None
    job.adapter_sha256 = champion.sha256 if champion else None
    job.adapter_resolved = True
    job.started_at = job.started_at or datetime.now(UTC)
    session.flush()


def record_answer(session: Session, job: Job, answer: Completion) -> None:
    """Store the model's turn and what it used, in the transaction that ends the job."""
    session.execute(
        insert(JobStep)
        .values(
            id=new_id(),
            company_id=job.company_id,
            job_id=job.job_id,
            number=1,
            kind="answer",
            content={"text": answer.text, "finish_reason": answer.finish_reason},
            confidence=answer.confidence,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
        )
        .on_conflict_do_nothing()
    )
    session.execute(
        insert(Usage)
        .values(
            id=new_id(),
            company_id=job.company_id,
            kind="job",
            reference=job.job_id,
            adapter_id=job.adapter_id,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
        )
        .on_conflict_do_nothing()
    )


def end(session: Session, job: Job) -> None:
    """Date the end of a job and tell the outside, in the transaction that ends it."""
    job.completed_at = datetime.now(UTC)
    announce(
        session,
        COMPANY_AUTOMATION_JOBS,
        "job.updated",
        job.company_id,
        {"job_id": job.job_id, "status": job.status, "adapter_id": job.adapter_id},
        correlation_id=job.job_id,
    )


def job_view(job: Job) -> dict[str, Any]:
    """A job as JSON."""
    output = job.output_data or {}
    return {
        "job_id": job.job_id,
        "company_id": job.company_id,
        "status": job.status,
        "task_type": job.job_type,
        "data": job.input_data["data"],
        "result": output.get("result"),
        "tool_results": output.get("tool_results", []),
        "confidence": output.get("confidence"),
        "usage": output.get("usage"),
        "use_adapter": job.use_adapter,
        "adapter_id": job.adapter_id,
        "adapter_sha256": job.adapter_sha256,
        "adapter_used": output.get("adapter_used"),
        "note": output.get("note"),
        "error": job.error,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested,
        "metadata": job.details,
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "completed_at": job.completed_at.isoformat() if job.completed_at else None,
    }
