"""The task of an automation job: one turn of the model, then an answer, or a wait for a tool."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from cyrex.agents import state as agent_state
from cyrex.agents.state import Prepared
from cyrex.agents.turn import Call, decide
from cyrex.jobs import service as jobs
from cyrex.jobs.requests import output_of
from cyrex.work.lease import Finish, Lease, Outcome, Pause
from database.models import Job
from tasks import app
from tasks.broker import dispatch
from tasks.inference.engine import answer, template
from tasks.steps.run import run_step


class Step:
    """One claim of a job's step: what the claim's transaction reads, the work goes on with."""

    def __init__(self) -> None:
        self._prepared: Prepared | None = None

    def claim(self, session: Session, job: Job) -> None:
        jobs.begin(session, job)
        self._prepared = agent_state.prepare(session, job)

    def work(self, job: Job, lease: Lease) -> Outcome:
        prepared = self._prepared
        assert prepared is not None, "a step works on what its claim has read"
        if job.cancel_requested:
            return Finish("cancelled")
        completion = answer(job, prepared, lambda: bool(lease.renew().cancel_requested))
        if completion is None:
            return Finish("cancelled")
        cut_off = completion.finish_reason == "length"
        decision = decide(completion.text, cut_off, prepared.situation, template())
        if isinstance(decision, Call):
            return Pause(
                "waiting",
                lambda session, row: agent_state.record_call(session, row, decision, completion),
            )
        return Finish(
            "completed",
            # With its date, which would be a write of its own otherwise.
            {
                "output_data": output_of(job, completion, prepared),
                "completed_at": datetime.now(UTC),
            },
            lambda session, row: agent_state.record_answer(session, row, decision, completion),
        )


@app.task(name="job.process")
def process(company_id: str, job_id: str, step: str, attempt: int) -> None:
    claimed = Step()
    try:
        run_step(
            "job",
            company_id,
            job_id,
            step,
            attempt,
            claimed.work,
            on_claim=claimed.claim,
        )
    finally:
        dispatch.announce_end(job_id)
