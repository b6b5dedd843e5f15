"""Automation jobs: create, list and cancel them; begin and end them for a worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cyrex.adapters.service import champion_of
from cyrex.agents.service import get_agent
from cyrex.agents.state import steps_of
from cyrex.errors import Conflict, NotFound
from cyrex.jobs.new_job import NewJob
from cyrex.tenants.quotas import require_place
from cyrex.tools import calls as tool_calls
from cyrex.work.news import updated
from database import claims
from database.base import to_json
from database.models import Job
from database.transitions import JOB
from settings import MIB, get_settings

# The size of a page of jobs; a larger job is a page of its own.
PAGE_BYTES = 8 * MIB
ROWS_AT_ONCE = 5


def create_job(session: Session, new: NewJob) -> Job:
    """Insert a queued job; the caller commits and then calls `admit`.

    Raises `NotFound` for an agent that is not the company's, `TooMany` when the company has too
    many open jobs.
    """
    require_place(session, JOB, new.company_id)
    if new.agent_id is not None:
        get_agent(session, new.company_id, new.agent_id)
    job = Job(**new.values())
    session.add(job)
    updated(session, job)
    session.flush()
    return job


def get_job(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound("job_not_found", f"there is no job {job_id!r}", "job_id")
    return job


def list_jobs(
    session: Session, limit: int = 50, after: str | None = None, status: str | None = None
) -> tuple[list[Job], bool]:
    """A page, newest first, and whether another follows; `after` is the last id of the one before.

    At most `limit` jobs, and fewer when they hold more than `PAGE_BYTES`: a tool's answers are a
    part of its job's.
    """
    query = select(Job).order_by(Job.job_id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(Job.job_id < after)
    if status is not None:
        query = query.where(Job.status == status)
    found: list[Job] = []
    held = 0
    for job in session.scalars(query.execution_options(yield_per=ROWS_AT_ONCE)):
        if len(found) == limit or held > PAGE_BYTES:
            return found, True
        found.append(job)
        held += sum(len(to_json(part)) for part in (job.input_data, job.output_data, job.details))
    return found, False


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
        .execution_options(populate_existing=True, synchronize_session=False)
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


def begin(session: Session, job: Job) -> None:
    """Bind the job to its adapter and its deadline, in the claim's transaction.

    Raises `UserError`.
    """
    resolve_adapter(session, job)
    if job.deadline_at is None:
        # Counted from the first claim: the time in the queue is no fault of the job.
        job.deadline_at = datetime.now(UTC) + timedelta(seconds=get_settings().job_seconds)
    updated(session, job)


def end(session: Session, job: Job) -> None:
    """Date the end of a job and tell the outside, in the transaction that ends it."""
    if job.completed_at is None:
        job.completed_at = datetime.now(UTC)
    updated(session, job)


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
        "agent_id": job.agent_id,
        "choices": job.input_data.get("choices"),
        "steps": output.get("steps", []),
        "use_adapter": job.use_adapter,
        "adapter_id": job.adapter_id,
        "adapter_sha256": job.adapter_sha256,
        "adapter_used": output.get("adapter_used"),
        "note": output.get("note"),
        "error": job.error,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested,
        "metadata": job.details,
        "payload_removed_at": (
            job.payload_removed_at.isoformat() if job.payload_removed_at else None
        ),
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "completed_at": job.completed_at.isoformat() if job.completed_at else None,
    }


def detailed_view(session: Session, job: Job) -> dict[str, Any]:
    """A job as JSON with its steps and tool calls, whatever state it is in."""
    view = job_view(job)
    if job.agent_id is not None:
        view["steps"] = steps_of(session, job.job_id)
        view["tool_results"] = [
            tool_calls.call_view(call) for call in tool_calls.calls_of(session, job.job_id)
        ]
    return view
