"""The task of an automation job: one turn of the model, then an answer, or a wait for a tool."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from cyrex.agents import state as agent_state
from cyrex.agents.state import StepInput
from cyrex.agents.turn import CallTool, decide
from cyrex.jobs import service as jobs
from cyrex.jobs.requests import output_of
from cyrex.work.lease import Finish, Lease, Outcome, Pause
from database.models import Job
from database.transitions import JOB
from tasks.broker import dispatch
from tasks.inference.engine import answer, template
from tasks.steps.run import step


def _begin(session: Session, job: Job) -> StepInput:
    jobs.begin(session, job)
    return agent_state.prepare(session, job)


# The engine lets what is under way end, or gives it back: a worker that leaves stops no job here.
@step(JOB, "process", on_claim=_begin, afterwards=dispatch.announce_end, drains=True)
def process(job: Job, lease: Lease) -> Outcome:
    prepared: StepInput = lease.claimed
    if job.cancel_requested:
        return Finish("cancelled")
    completion = answer(job, prepared, lease.should_stop)
    if completion is None:
        return lease.stopped()
    cut_off = completion.finish_reason == "length"
    decision = decide(completion.text, cut_off, prepared.situation, template())
    if isinstance(decision, CallTool):
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
