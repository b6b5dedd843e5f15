"""The task of an automation job: prompt, engine, answer."""

from __future__ import annotations

from cyrex import jobs
from cyrex.lease import Finish, Lease, Outcome
from cyrex.prompts import output_of
from database.models import Job
from tasks import app, dispatch
from tasks.inference import answer
from tasks.steps import run_step


def _process(job: Job, lease: Lease) -> Outcome:
    if job.cancel_requested:
        return Finish("cancelled")
    completion = answer(job, lambda: bool(lease.renew().cancel_requested))
    if completion is None:
        return Finish("cancelled")
    return Finish(
        "completed",
        {"output_data": output_of(job, completion)},
        lambda session, row: jobs.record_answer(session, row, completion),
    )


@app.task(name="job.process")
def process(company_id: str, job_id: str, step: str, attempt: int) -> None:
    try:
        run_step(
            "job",
            company_id,
            job_id,
            step,
            attempt,
            _process,
            on_claim=jobs.resolve_adapter,
        )
    finally:
        dispatch.announce_end(job_id)
