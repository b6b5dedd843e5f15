"""A plain job in one round trip: what `create_job` does, for a company that is far from its limit.

Its checks, its values and its event are `create_job`'s; only the way into the database differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cyrex.jobs import job_view, new_values, update_of
from cyrex.limits import NEAR, open_limit
from database.base import Json, to_json
from database.models import Job
from database.session import WEB, company_statement
from database.transitions import JOB
from synapse.outbox import row_of
from synapse.streams import COMPANY_AUTOMATION_JOBS


def take_in(
    company_id: str,
    data: Any,
    task_type: str,
    use_adapter: bool,
    metadata: Json | None,
    choices: Sequence[str] | None,
) -> Json | None:
    """Commit a queued job and return its view; the caller then calls `admit`.

    None: nothing was written, because the company is too near to its limit to be counted without
    being locked; `create_job` decides. Raises `UserError` as `create_job` does.
    """
    values = new_values(company_id, data, task_type, use_adapter, metadata, choices)
    far = open_limit(JOB) - NEAR
    if far <= 0:
        return None
    job = Job(**values)
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
        },
    )
    if made is None:
        return None
    job.created_at, job.attempt, job.cancel_requested = made
    return job_view(job)


@lru_cache(maxsize=1)
def _statement() -> str:
    unfinished = ", ".join(f"'{state.name}'" for state in JOB.states if state.to)
    return INSERT.replace("(unfinished)", f"({unfinished})")


INSERT = """
    WITH place AS (
        SELECT count(*) AS taken FROM (
            SELECT FROM company_automation_jobs
            WHERE company_id = %(company_id)s AND status IN (unfinished) LIMIT %(far)s
        ) AS unfinished_jobs
    ), job AS (
        INSERT INTO company_automation_jobs (
            job_id, company_id, job_type, input_data, use_adapter, metadata, source, status, step
        )
        SELECT %(job_id)s, %(company_id)s, %(job_type)s, %(input_data)s::jsonb, %(use_adapter)s,
            %(details)s::jsonb, %(source)s, %(status)s, %(step)s
        FROM place WHERE taken < %(far)s
        RETURNING company_id, created_at, attempt, cancel_requested
    ), event AS (
        INSERT INTO outbox (event_id, company_id, stream, envelope)
        SELECT %(event_id)s, company_id, %(stream)s, %(envelope)s::jsonb FROM job
    )
    SELECT created_at, attempt, cancel_requested FROM job
"""
