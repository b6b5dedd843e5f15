"""Tasks of a training run: shells over `cyrex.training.steps` and `cyrex.training.train_step`."""

from __future__ import annotations

import os
from typing import Any

from celery.signals import worker_process_init

from cyrex.training import steps as training_steps
from cyrex.training import train_step as training_child
from tasks import app
from tasks.steps.run import run_step
from tasks.workers.presence import leaving


@app.task(name="training.accept")
def accept(company_id: str, request_id: str, step: str, attempt: int) -> None:
    run_step("training", company_id, request_id, step, attempt, training_steps.accept)


@app.task(name="training.train")
def train(company_id: str, request_id: str, step: str, attempt: int) -> None:
    try:
        run_step(
            "training",
            company_id,
            request_id,
            step,
            attempt,
            lambda run, lease: training_child.train(run, lease, leaving.is_set),
        )
    finally:
        if not leaving.is_set():
            training_child.stand_by()


@worker_process_init.connect
def _stand_by(**_kwargs: Any) -> None:
    """In a pool process of a worker that trains."""
    if "training" in os.environ.get("CYREX_QUEUES", "").split(","):
        training_child.stand_by()


@app.task(name="training.evaluate")
def evaluate(company_id: str, request_id: str, step: str, attempt: int) -> None:
    run_step(
        "training",
        company_id,
        request_id,
        step,
        attempt,
        lambda run, lease: training_steps.evaluate(run, lease, leaving.is_set),
    )


@app.task(name="training.register")
def register(company_id: str, request_id: str, step: str, attempt: int) -> None:
    run_step("training", company_id, request_id, step, attempt, training_steps.register)


@app.task(name="training.announce")
def announce(company_id: str, request_id: str, step: str, attempt: int) -> None:
    run_step(
        "training",
        company_id,
        request_id,
        step,
        attempt,
        training_steps.announce_adapter,
    )
