"""Engine requests made from job rows, and job rows from the engine's answers."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from cyrex.adapters.files import adapter_cache, local_package
from cyrex.agents.state import StepInput, seconds_used
from cyrex.agents.turn import grammar_of, messages_of, tokens_left, tools_of
from cyrex.engine import AdapterRef, Completion, Request
from cyrex.errors import UserError
from database.base import storable
from database.models import Job, LoraAdapter
from helox.render import ChatTemplate, LineError
from settings import get_settings


class WrongAdapter(RuntimeError):
    """Another adapter than the job's row names has answered. Its answer is never shown."""


BASE_NOTE = "the company has no adapter yet: the base model answered"


def adapter_ref(adapter: LoraAdapter) -> AdapterRef:
    """A registered adapter as the engine takes it; its package is fetched and verified first."""
    assert adapter.sha256 is not None, f"adapter {adapter.adapter_id} has no package"
    folder = local_package(adapter.company_id, adapter.version, adapter.sha256)
    return AdapterRef(
        company=adapter.company_id,
        adapter_id=adapter.adapter_id,
        sha256=adapter.sha256,
        path=str(folder),
        weights_sha256=adapter_cache().manifest(adapter.sha256).weights_sha256,
    )


def request_of(
    job: Job, adapter: AdapterRef | None, template: ChatTemplate, prepared: StepInput
) -> Request:
    """The engine request of the job's next step, within the limits of job and agent.

    A company without tools is asked as its training lines are. Raises `UserError` when a limit is
    reached, or when the base's template refuses the conversation.
    """
    situation, limits = prepared.situation, prepared.limits
    seconds = _seconds_left(job)
    # No token is shorter than a byte: every choice fits.
    longest = max((len(choice.encode()) for choice in situation.choices), default=0)
    tokens = max(get_settings().max_new_tokens, longest)
    if not situation.is_plain:
        used = seconds_used(job)
        tokens = min(tokens, tokens_left(limits, len(prepared.steps), prepared.tokens, used))
        seconds = min(seconds, limits.seconds - used)
    try:
        prompt = template.render(
            messages_of(situation), add_generation_prompt=True, tools=tools_of(situation)
        )
    except LineError as error:
        raise UserError("template_refused", str(error)) from error
    return Request(
        company=job.company_id,
        adapter=adapter,
        prompt=prompt,
        max_new_tokens=tokens,
        deadline=time.monotonic() + seconds,
        grammar=grammar_of(situation, template),
    )


def _seconds_left(job: Job) -> float:
    """Until the job's deadline. Raises `UserError` when it has passed."""
    if job.deadline_at is None:
        return get_settings().job_seconds
    seconds = (job.deadline_at - datetime.now(UTC)).total_seconds()
    if seconds <= 0:
        waited = "before it began" if job.started_at is None else "before its answer was complete"
        raise UserError("deadline_exceeded", f"the job's time was up {waited}")
    return seconds


def output_of(job: Job, completion: Completion, prepared: StepInput) -> dict[str, Any]:
    """The `output_data` of a finished job. Raises `WrongAdapter`."""
    given = (completion.adapter_id, completion.sha256)
    if given != (job.adapter_id, job.adapter_sha256):
        raise WrongAdapter(f"job {job.job_id}: answered by {given}")
    last = {
        "number": len(prepared.steps) + 1,
        "kind": "answer",
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "confidence": completion.confidence,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
    steps = [*prepared.steps, last]
    output: dict[str, Any] = {
        "result": storable(completion.text),
        "tool_results": list(prepared.calls),
        "confidence": completion.confidence,
        "finish_reason": completion.finish_reason,
        "adapter_used": completion.adapter_id is not None,
        "steps": steps,
        "usage": {
            name: sum(step[name] for step in steps)
            for name in ("prompt_tokens", "completion_tokens")
        },
    }
    if job.use_adapter and completion.adapter_id is None:
        output["note"] = BASE_NOTE
    return output
