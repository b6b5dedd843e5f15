"""From a job's row to what the engine is asked."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from cyrex.adapter_files import adapter_cache, local_package
from cyrex.engine import AdapterRef, Completion, Request
from cyrex.errors import UserError
from database.base import storable
from database.models import Job, LoraAdapter
from helox.render import ChatTemplate, prompt_of_job
from settings import get_settings

BASE_NOTE = "the company has no adapter yet: the base model answered"


def adapter_ref(adapter: LoraAdapter) -> AdapterRef:
    """What the engine needs of a registered adapter; its package is fetched and verified first."""
    assert adapter.sha256 is not None, f"adapter {adapter.adapter_id} has no package"
    folder = local_package(adapter.company_id, adapter.version, adapter.sha256)
    return AdapterRef(
        company=adapter.company_id,
        adapter_id=adapter.adapter_id,
        sha256=adapter.sha256,
        path=str(folder),
        weights_sha256=adapter_cache().manifest(adapter.sha256).weights_sha256,
    )


def request_of(job: Job, adapter: AdapterRef | None, template: ChatTemplate) -> Request:
    """The prompt that training would have rendered for the same input, and the job's limits.

    Raises `UserError` when the job's time is up.
    """
    deadline = None
    if job.deadline_at is not None:
        seconds = (job.deadline_at - datetime.now(UTC)).total_seconds()
        if seconds <= 0:
            raise UserError("deadline_exceeded", "the job's time was up before it began")
        deadline = time.monotonic() + seconds
    return Request(
        company=job.company_id,
        adapter=adapter,
        prompt=template.render(prompt_of_job(job.input_data["data"]), add_generation_prompt=True),
        max_new_tokens=get_settings().max_new_tokens,
        deadline=deadline,
    )


def output_of(job: Job, completion: Completion) -> dict[str, Any]:
    """What a finished job's row says. Refuses an answer by another adapter than the row names."""
    given = (completion.adapter_id, completion.sha256)
    assert given == (job.adapter_id, job.adapter_sha256), f"job {job.job_id}: answered by {given}"
    output: dict[str, Any] = {
        "result": storable(completion.text),
        "tool_results": [],
        "confidence": completion.confidence,
        "finish_reason": completion.finish_reason,
        "adapter_used": completion.adapter_id is not None,
        "usage": {
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
        },
    }
    if job.use_adapter and completion.adapter_id is None:
        output["note"] = BASE_NOTE
    return output
