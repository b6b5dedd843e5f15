"""The rows of an agent at work: a job's steps and tool calls, the end of its wait for a tool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from cyrex.agents import memory
from cyrex.agents import service as agents
from cyrex.agents.turn import AgentLimits, CallTool, FinalAnswer, Situation, Turn
from cyrex.engine import Completion
from cyrex.errors import UserError
from cyrex.tenants.service import get_company
from cyrex.tools import calls as tool_calls
from cyrex.tools.service import registered, tool_schema
from cyrex.work.admission import admit_rows, room
from cyrex.work.lease import Hint
from cyrex.work.news import updated
from database import claims
from database.base import Json, new_id, to_json
from database.models import Agent, Job, JobStep, ToolCall
from database.transitions import JOB, TOOL_CALL
from helox.render import content_of

# A tool's answer is shown to the model up to this length; the row keeps all of it.
REPLY_CHARACTERS = 4000
# Each memory of the company is shown to the model up to this length.
MEMORY_CHARACTERS = 400


@dataclass(frozen=True)
class StepInput:
    """The situation and the limits that a claimed step of a job begins with.

    steps, calls: the views of the job's steps and tool calls so far. tokens: the number that its
    steps have generated.
    """

    situation: Situation
    limits: AgentLimits
    steps: Sequence[Json] = ()
    calls: Sequence[Json] = ()

    @property
    def tokens(self) -> int:
        return sum(int(step["completion_tokens"]) for step in self.steps)


def data_of(job: Job) -> Any:
    """What a job was asked, its keys in the order in which they were sent where that matters.

    JSONB forgets it, and tools and calls are shown to the model in the order of their keys.
    """
    ordered = job.input_data.get("ordered")
    return json.loads(ordered) if isinstance(ordered, str) else job.input_data["data"]


def prepare(session: Session, job: Job) -> StepInput:
    """Read the input of the next step. Raises `UserError` when the job's agent is gone."""
    company_id = job.company_id
    if job.agent_id is not None:
        agent: Agent | None = agents.get_agent(session, company_id, job.agent_id)
    else:
        agent = agents.find_default(session, company_id)
    wanted = set(agent.tools) if agent is not None else set()
    offered = [t for t in registered(session, company_id) if not wanted or t.name in wanted]
    limits = agents.limits_of(agent)
    situation = Situation(
        data=data_of(job),
        prompt=agent.prompt if agent is not None else "",
        tools=[tool_schema(tool) for tool in offered],
        choices=job.input_data.get("choices", ()),
    )
    if situation.is_plain:
        return StepInput(situation, limits)
    job.agent_id = (agent or agents.default_agent(session, company_id)).agent_id
    calls = tool_calls.calls_of(session, job.job_id)
    situation = replace(
        situation,
        context=get_company(session, company_id).context,
        memories=_recalled(session, job, limits.memories),
        turns=[_turn(call) for call in calls],
    )
    return StepInput(
        situation,
        limits,
        steps_of(session, job.job_id),
        [tool_calls.call_view(call) for call in calls],
    )


def _recalled(session: Session, job: Job, limit: int) -> list[str]:
    if limit == 0:
        return []
    query = content_of(job.input_data["data"])
    found = memory.recall(session, job.company_id, query, limit)
    return [entry.content[:MEMORY_CHARACTERS] for entry in found]


def steps_of(session: Session, job_id: str) -> list[Json]:
    """The views of a job's steps, in order."""
    query = select(JobStep).where(JobStep.job_id == job_id).order_by(JobStep.number)
    return [step_view(row) for row in session.scalars(query)]


def step_view(row: JobStep) -> Json:
    return {
        "number": row.number,
        "kind": row.kind,
        **row.content,
        "confidence": row.confidence,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
    }


def _turn(call: ToolCall) -> Turn:
    reply = tool_calls.reply_of(call)
    if len(reply) > REPLY_CHARACTERS:
        reply = reply[:REPLY_CHARACTERS] + "…"
    return Turn(call.call_id, call.tool_name, call.arguments, reply)


def record_step(
    session: Session,
    job: Job,
    decision: CallTool | FinalAnswer,
    completion: Completion,
    call_id: str | None,
) -> None:
    """Store one turn of the model and its usage, in the transaction that ends the step."""
    content: Json = {"text": completion.text, "finish_reason": completion.finish_reason}
    if isinstance(decision, CallTool):
        content |= {"tool": decision.tool, "arguments": decision.arguments, "call_id": call_id}
    session.execute(
        STEP,
        {
            "step_id": new_id(),
            "usage_id": new_id(),
            "company_id": job.company_id,
            "job_id": job.job_id,
            "kind": "call" if isinstance(decision, CallTool) else "answer",
            "content": to_json(content),
            "confidence": completion.confidence,
            "adapter_id": job.adapter_id,
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
        },
    )


# A job's first step is metered under the job's own id.
STEP = text("""
    WITH step AS (
        INSERT INTO job_steps (
            id, company_id, job_id, number, kind, content, confidence,
            prompt_tokens, completion_tokens
        )
        SELECT :step_id, :company_id, :job_id, 1 + count(*), :kind, CAST(:content AS jsonb),
            CAST(:confidence AS double precision), :prompt_tokens, :completion_tokens
        FROM job_steps WHERE company_id = :company_id AND job_id = :job_id
        RETURNING company_id, job_id, number, prompt_tokens, completion_tokens
    )
    INSERT INTO usage (
        id, company_id, kind, reference, adapter_id, prompt_tokens, completion_tokens
    )
    SELECT :usage_id, company_id, 'job',
        CASE WHEN number = 1 THEN job_id ELSE job_id || ':' || number END,
        CAST(:adapter_id AS text), prompt_tokens, completion_tokens
    FROM step ON CONFLICT DO NOTHING
""")


def record_call(
    session: Session, job: Job, decision: CallTool, completion: Completion
) -> Sequence[Hint]:
    """Store a step that asked for a tool, and the call; returns the hints to publish."""
    updated(session, job)
    try:
        call = tool_calls.create_call(session, job, decision.tool, decision.arguments)
    except UserError as error:
        # The tool is gone, or wants more than its schema tells a grammar: the model is to hear it.
        call = _refused_call(session, job, decision, error)
    record_step(session, job, decision, completion, call.call_id)
    if call.status not in TOOL_CALL.terminal:
        return [(TOOL_CALL, row) for row in admit_rows(session, TOOL_CALL, job.company_id)]
    session.flush()
    resumed = resume(session, job.job_id)
    return [(JOB, resumed)] if resumed is not None else []


def _refused_call(session: Session, job: Job, decision: CallTool, error: UserError) -> ToolCall:
    call = ToolCall(
        call_id=new_id(),
        company_id=job.company_id,
        job_id=job.job_id,
        tool_name=decision.tool,
        arguments=decision.arguments,
        status="failed",
        step=TOOL_CALL.steps[0],
        error=error.as_json(),
    )
    session.add(call)
    return call


def record_answer(
    session: Session, job: Job, decision: FinalAnswer, completion: Completion
) -> None:
    """Store the last step, and its result in the company's memory."""
    record_step(session, job, decision, completion, None)
    memory.remember_job(session, job, decision.text)


def resume(session: Session, job_id: str) -> Job | None:
    """Let a waiting job go on, under a new attempt; returns the row to publish after the commit.

    In the transaction that ends its tool call. None: it does not wait (any more), or its company
    has as much with the broker as it may, and the job waits its turn again; it is old, so that
    comes soon.
    """
    company_id = session.scalar(
        select(Job.company_id).where(Job.job_id == job_id, Job.status == "waiting")
    )
    if company_id is None:
        return None
    admitted = room(session, JOB, company_id) > 0
    moved: Job | None = claims.move(
        session,
        JOB,
        job_id,
        "admitted" if admitted else "queued",
        only_from="waiting",
        attempt=Job.attempt + 1,
        published_at=func.now() if admitted else None,
        publications=int(admitted),
    )
    if moved is not None:
        updated(session, moved)
    return moved if admitted else None


def stranded(session: Session, limit: int) -> list[str]:
    """Ids of jobs that wait for nothing: their calls have ended, or their time is up."""
    open_call = (
        select(ToolCall.call_id)
        .where(ToolCall.job_id == Job.job_id, ToolCall.status.not_in(TOOL_CALL.terminal))
        .exists()
    )
    query = select(Job.job_id).where(
        Job.status == "waiting", or_(~open_call, Job.deadline_at < func.now())
    )
    return list(session.scalars(query.limit(limit)))


def seconds_used(job: Job) -> float:
    """Since the job was first claimed."""
    if job.started_at is None:
        return 0.0
    return (datetime.now(UTC) - job.started_at).total_seconds()
