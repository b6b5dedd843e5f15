"""The events that tell the outside of a change of status."""

from __future__ import annotations

from sqlalchemy.orm import Session

from database.models import Job
from synapse.envelope import Envelope
from synapse.outbox import announce_all, event
from synapse.streams import COMPANY_AUTOMATION_JOBS


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
