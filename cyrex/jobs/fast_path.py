"""A plain job in one round trip: `create_job` and `admit`, for a company far from its limits.

It checks, fills in and announces as `create_job` does; only the way into the database differs.
Without it a job submitted over HTTP costs the API three times the processor time, and a no-op job
reaches its end at two thirds of the rate (measured by `make bench NAME=delivery`).
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from cyrex.jobs.new_job import NewJob
from cyrex.jobs.service import job_view
from cyrex.tenants.quotas import NEAR, open_limit
from cyrex.work import admission
from cyrex.work.news import update_of
from database.base import Json, to_json
from database.models import Job
from database.session import WEB, PreparedStatement, company_statement
from database.transitions import JOB
from synapse.outbox import row_of
from synapse.streams import COMPANY_AUTOMATION_JOBS

# A job's attributes before they are set. An instance of the model would cost as much as the rest of
# this module.
BLANK: Json = {**dict.fromkeys(Job.__mapper__.columns.keys()), "history": []}


def create_and_admit(new: NewJob) -> tuple[Json, Any] | None:
    """Commit a new job; returns its view, and the row if the caller is to publish it.

    A job with no queued job before it is `admitted` at once. For any other job the row is None: the
    job is queued, and the caller calls `admit`.
    Returns None, with nothing written, when an agent is named, or when the company is too near to
    its limit to be counted without a lock; `create_job` decides then.
    """
    if new.agent_id is not None:
        return None
    values = new.values()
    company_id = new.company_id
    far = open_limit(JOB) - NEAR
    if far <= 0:
        return None
    job: Any = SimpleNamespace(**{**BLANK, **values})
    event = row_of(COMPANY_AUTOMATION_JOBS, update_of(job))
    made = company_statement(
        company_id,
        WEB,
        _statement(),
        {
            **values,
            "input_data": to_json(values["input_data"]),
            "details": to_json(values["details"]),
            "event_id": event["event_id"],
            "stream": event["stream"],
            "envelope": to_json(event["envelope"]),
            "far": far,
            "most": admission.limit_of(JOB),
        },
    )
    if made is None:
        return None
    job.created_at, job.attempt, job.cancel_requested, job.status = made
    return job_view(job), job if job.status == "admitted" else None


@lru_cache(maxsize=1)
def _statement() -> PreparedStatement:
    unfinished = [state.name for state in JOB.states if state.to]
    statement = INSERT.format(
        unfinished=", ".join(f"'{state}'" for state in unfinished),
        taken=admission.places_taken(JOB, "%(company_id)s"),
    )
    return PreparedStatement("create_and_admit", TYPES, statement, LOCK)


TYPES = {
    **dict.fromkeys(("job_id", "company_id", "job_type", "source", "status", "step"), "text"),
    **dict.fromkeys(("input_data", "details", "envelope"), "jsonb"),
    **dict.fromkeys(("event_id", "stream"), "text"),
    "use_adapter": "boolean",
    **dict.fromkeys(("far", "most"), "bigint"),
}
# `admit_companies` holds the company's row while it fills the company's places with the broker.
# This statement waits for no other: while another transaction holds the row, the job is queued.
# The statement after it sees everything committed until the lock was taken.
LOCK = """
    SELECT set_config('app.may_admit', 'yes', true) FROM (
        SELECT FROM companies WHERE company_id = %(company_id)s FOR NO KEY UPDATE SKIP LOCKED
    ) AS held;
"""
# A job is admitted at once where `admit` would take it next: nothing is queued, a place is free.
INSERT = """
    WITH place AS (
        SELECT count(*) AS unfinished,
            current_setting('app.may_admit', true) = 'yes'
            AND count(*) FILTER (WHERE status = 'queued') = 0
            AND {taken} < %(most)s AS free
        FROM (
            SELECT status FROM company_automation_jobs
            WHERE company_id = %(company_id)s AND status IN ({unfinished}) LIMIT %(far)s
        ) AS unfinished_jobs
    ), job AS (
        INSERT INTO company_automation_jobs (
            job_id, company_id, job_type, input_data, use_adapter, metadata, source, step,
            status, published_at, publications
        )
        SELECT %(job_id)s, %(company_id)s, %(job_type)s, %(input_data)s, %(use_adapter)s,
            %(details)s, %(source)s, %(step)s,
            CASE WHEN free THEN 'admitted' ELSE %(status)s END,
            CASE WHEN free THEN now() END,
            CASE WHEN free THEN 1 ELSE 0 END
        FROM place WHERE unfinished < %(far)s
        RETURNING company_id, created_at, attempt, cancel_requested, status
    ), event AS (
        INSERT INTO outbox (event_id, company_id, stream, envelope)
        SELECT %(event_id)s, company_id, %(stream)s,
            jsonb_set(%(envelope)s, '{{data,status}}', to_jsonb(status))
        FROM job
    )
    SELECT created_at, attempt, cancel_requested, status FROM job
"""
