"""Tasks of a training run: shells over `cyrex.training_steps` and `cyrex.training_child`."""

from __future__ import annotations

from sqlalchemy.orm import Session

from cyrex import training_child, training_steps
from cyrex.training import add_event
from database.models import TrainingRun
from tasks import app
from tasks.steps import run_step
from tasks.worker import leaving


def _ended(session: Session, run: TrainingRun) -> None:
    if run.error is not None:
        add_event(session, run, "failed", str(run.error["message"]), run.error, level="error")


@app.task(name="training.accept")
def accept(company_id: str, request_id: str, step: str, attempt: int) -> None:
    run_step(
        "training", company_id, request_id, step, attempt, training_steps.accept, on_end=_ended
    )


@app.task(name="training.train")
def train(company_id: str, request_id: str, step: str, attempt: int) -> None:
    run_step(
        "training",
        company_id,
        request_id,
        step,
        attempt,
        lambda run, lease: training_child.train(run, lease, leaving.is_set),
        on_end=_ended,
    )


@app.task(name="training.evaluate")
def evaluate(company_id: str, request_id: str, step: str, attempt: int) -> None:
    run_step(
        "training",
        company_id,
        request_id,
        step,
        attempt,
        lambda run, lease: training_steps.evaluate(run, lease, leaving.is_set),
        on_end=_ended,
    )


@app.task(name="training.register")
def register(company_id: str, request_id: str, step: str, attempt: int) -> None:
    run_step(
        "training", company_id, request_id, step, attempt, training_steps.register, on_end=_ended
    )


@app.task(name="training.announce")
def announce(company_id: str, request_id: str, step: str, attempt: int) -> None:
    run_step(
        "training",
        company_id,
        request_id,
        step,
        attempt,
        training_steps.announce_adapter,
        on_end=_ended,
    )
