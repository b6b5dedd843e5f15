"""Automation jobs as their company sees them: ask, look, cancel; and what a worker does to them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cyrex.adapters.service import champion_of
from cyrex.errors import Conflict, NotFound, UserError
from cyrex.tenants.quotas import require_place
from database import claims
from database.base import new_id, to_json
from database.models import Agent, Job
from database.transitions import JOB
from settings import MIB, get_settings
from synapse.envelope import Envelope
from synapse.outbox import announce_all, event
from synapse.streams import COMPANY_AUTOMATION_JOBS

DEFAULT_TASK_TYPE = "automation"
TASK_TYPE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
MAX_CHOICES = 1000
MAX_CHOICE_CHARACTERS = 500
# Of one page of jobs; a job that alone has more is a page.
PAGE_BYTES = 8 * MIB
ROWS_AT_ONCE = 5


def create_job(
    session: Session,
    company_id: str,
    data: Any,
    task_type: str = DEFAULT_TASK_TYPE,
    use_adapter: bool = True,
    metadata: dict[str, Any] | None = None,
    job_id: str | None = None,
    source: str = "api",
    agent_id: str | None = None,
    choices: Sequence[str] | None = None,
) -> Job:
    """Insert a queued job; the caller commits and then calls `admit`.

    agent_id: None is the company's default agent. choices: the answer will be one of these.
    Raises `UserError` for a task type or choices that are none, `NotFound` for an agent that is not
    the company's, `TooMany` when the company has too many open jobs.
    """
    values = new_values(company_id, data, task_type, use_adapter, metadata, choices)
    require_place(session, JOB, company_id)
    if agent_id is not None:
        require_agent(session, company_id, agent_id)
    values |= {"job_id": job_id or values["job_id"], "source": source, "agent_id": agent_id}
    job = Job(**values)
    session.add(job)
    updated(session, job)
    session.flush()
    return job


def new_values(
    company_id: str,
    data: Any,
    task_type: str,
    use_adapter: bool,
    metadata: dict[str, Any] | None,
    choices: Sequence[str] | None,
) -> dict[str, Any]:
    """A new job's attributes. Raises `UserError` for a task type or choices that are none."""
    check_task_type(task_type)
    asked: dict[str, Any] = {"data": data}
    if choices is not None:
        asked["choices"] = check_choices(choices)
    return {
        "job_id": new_id(),
        "company_id": company_id,
        "job_type": task_type,
        "input_data": asked,
        "use_adapter": use_adapter,
        "details": metadata or {},
        "source": "api",
        "status": "queued",
        "step": JOB.steps[0],
    }


def check_task_type(task_type: str) -> None:
    """Raises `UserError`."""
    if not isinstance(task_type, str) or not re.fullmatch(TASK_TYPE, task_type):
        raise UserError(
            "invalid_task_type",
            "task_type: 1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit",
            param="task_type",
        )


def check_data(data: Any) -> None:
    """Raises `UserError` for what is not JSON; the API's requests are JSON already."""
    try:
        json.dumps(data, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError("invalid_data", f"data: is not JSON: {error}", param="data") from None


def check_choices(choices: Sequence[str]) -> list[str]:
    """Return `choices` if an answer can be held to them. Raises `UserError`."""
    found = list(choices)
    if not 1 <= len(found) <= MAX_CHOICES or len(set(found)) < len(found):
        raise UserError(
            "invalid_choices",
            f"choices: from 1 to {MAX_CHOICES} texts, no two of them equal",
            param="choices",
        )
    for i, choice in enumerate(found):
        if not choice.strip() or len(choice) > MAX_CHOICE_CHARACTERS:
            raise UserError(
                "invalid_choices",
                f"choices[{i}]: must be text of 1 to {MAX_CHOICE_CHARACTERS} characters",
                param=f"choices[{i}]",
            )
    return found


def require_agent(session: Session, company_id: str, agent_id: str) -> Agent:
    """A company's agent. Raises `NotFound`, also for another company's."""
    row = session.get(Agent, agent_id)
    if row is None or row.company_id != company_id:
        raise NotFound("agent_not_found", f"there is no agent {agent_id!r}", "agent_id")
    return row


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
    """What a claim does to a job, in its transaction. Raises `UserError`."""
    resolve_adapter(session, job)
    if job.deadline_at is None:
        # From here on: how long it waited in the queue is no fault of the job.
        job.deadline_at = datetime.now(UTC) + timedelta(seconds=get_settings().job_seconds)
    updated(session, job)


def end(session: Session, job: Job) -> None:
    """Date the end of a job and tell the outside, in the transaction that ends it."""
    if job.completed_at is None:
        job.completed_at = datetime.now(UTC)
    updated(session, job)


def updated(session: Session, *jobs: Job) -> None:
    """Tell the outside of jobs' new status, in the transaction that sets it."""
    announce_all(session, COMPANY_AUTOMATION_JOBS, [update_of(job) for job in jobs])


def update_of(job: Job) -> Envelope:
    """The event that tells the outside of a job's status."""
    return event(
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
