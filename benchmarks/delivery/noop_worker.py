"""Loaded by the worker of the no-op benchmark: jobs without a model, and an empty task.

The engine is not started; each job gets the same few tokens at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.signals import worker_init

import tasks.steps.jobs
from cyrex.adapters.base_model import base_model_dir
from cyrex.agents.state import StepInput
from cyrex.engine import Completion
from database.models import Job
from helox.render import ChatTemplate
from tasks import app
from tasks.broker import connection
from tasks.inference import engine as inference

DONE_KEY = "bench:noop:done"
BARE = "bench.noop"

worker_init.disconnect(inference._start)
inference._template = ChatTemplate.load(base_model_dir())


def _answer(_job: Job, _prepared: StepInput, _cancelled: Callable[[], bool]) -> Completion:
    return Completion(
        text="yes",
        tokens=(1,),
        logprobs=(0.0,),
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=1,
        adapter_id=None,
        sha256=None,
    )


tasks.steps.jobs.answer = _answer


@app.task(name=BARE)
def noop(last: bool) -> Any:
    """Do nothing; the last task sets DONE_KEY."""
    return connection.broker().set(DONE_KEY, 1) if last else None
