"""The tasks of a training run."""

from __future__ import annotations

import os
from typing import Any

from celery.signals import worker_process_init

from cyrex.training import steps as training_steps
from cyrex.training import train_step
from cyrex.work.lease import Lease, Outcome
from database.models import TrainingRun
from database.transitions import TRAINING
from tasks.steps.run import step
from tasks.workers.signals import leaving


@step(TRAINING, "accept")
def accept(run: TrainingRun, lease: Lease) -> Outcome:
    return training_steps.accept(run, lease)


def _stand_by() -> None:
    """Keep a trainer ready in a pool process of a worker that trains."""
    queues = os.environ.get("CYREX_QUEUES", "").split(",")
    if "training" in queues and not leaving.is_set():
        train_step.stand_by()


@worker_process_init.connect
def _in_pool_process(**_kwargs: Any) -> None:
    _stand_by()


@step(TRAINING, "train", afterwards=lambda _run_id: _stand_by())
def train(run: TrainingRun, lease: Lease) -> Outcome:
    return train_step.train(run, lease)


@step(TRAINING, "evaluate")
def evaluate(run: TrainingRun, lease: Lease) -> Outcome:
    return training_steps.evaluate(run, lease)


@step(TRAINING, "register")
def register(run: TrainingRun, lease: Lease) -> Outcome:
    return training_steps.register(run, lease)


@step(TRAINING, "announce")
def announce(run: TrainingRun, lease: Lease) -> Outcome:
    return training_steps.announce_adapter(run, lease)
