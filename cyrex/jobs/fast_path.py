"""A plain job in one round trip: `create_job` and `admit`, for a company far from its limits.

Its checks, its values and its event are `create_job`'s; only the way into the database differs.
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
from database.session import WEB, Prepared, company_statement
from database.transitions import JOB
from synapse.outbox import row_of
from synapse.streams import COMPANY_AUTOMATION_JOBS

# A job's attributes, as long as nobody has set them. An instance of the model would cost as much
# as everything else that is done here.
BLANK: Json = {**dict.fromkeys(Job.__mapper__.columns.keys()), "history": []}


def create_and_admit(new: NewJob) -> tuple[Json, Any] | None:
    """Commit a new job; returns its view, and the row if the caller is to publish it.

    A job that nothing stands before is `admitted` at once. The row of any other is None: it is
    queued, and the caller calls `admit`.
    None: nothing was written, because an agent is named, or because the company is too near to its
    limit to be counted without being locked; `create_job` decides.
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
def _statement() -> Prepared:
    unfinished = [state.name for state in JOB.states if state.to]
    statement = INSERT.format(
        unfinished=", ".join(f"'{state}'" for state in unfinished),
        taken=admission.places_taken(JOB, "%(company_id)s"),
    )
    return Prepared("create_and_admit", TYPES, statement, LOCK)


TYPES = {
    **dict.fromkeys(("job_id", "company_id", "job_type", "source", "status", "step"), "text"),
    **dict.fromkeys(("input_data", "details", "envelope"), "jsonb"),
    **dict.fromkeys(("event_id", "stream"), "text"),
    "use_adapter": "boolean",
    **dict.fromkeys(("far", "most"), "bigint"),
}
# Whoever fills a company's places with the broker holds its row (see `admit_companies`). This one
# waits for nobody: while another holds it, the job is queued. What follows sees what was committed
# until the lock was had.
LOCK = """
    SELECT set_config('app.may_admit', 'yes', true) FROM (
        SELECT FROM companies WHERE company_id = %(company_id)s FOR NO KEY UPDATE SKIP LOCKED
    ) AS held;
"""
# The first in the queue of a company that has room is where `admit` would take it.
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
