"""The chain of a row's remaining tasks: names, order, arguments, queues."""

from __future__ import annotations

from typing import Any

import pytest

import celeryconfig
from database.models import Job, LoraAdapter, TrainingRun
from database.transitions import ADAPTER, JOB, MACHINES, TRAINING, Machine
from tasks import app
from tasks.broker.chains import remaining_chain

ROWS: dict[str, dict[str, Any]] = {
    TRAINING.kind: {"request_id": "the-row"},
    ADAPTER.kind: {"adapter_id": "the-row"},
    JOB.kind: {"job_id": "the-row"},
}

TRAINING_QUEUES = {
    "training.accept": "bridge",
    "training.train": "training",
    "training.evaluate": "training",
    "training.register": "bridge",
    "training.announce": "bridge",
}
ADAPTER_QUEUES = {
    "adapter.fetch": "inference",
    "adapter.evaluate": "training",
    "adapter.warm": "inference",
    "adapter.decide": "bridge",
}


def chained(machine: Machine, step: str, **values: Any) -> list[tuple[str, Any, str]]:
    """(task, arguments, queue) of each task of the chain."""
    row = machine.model(company_id="acme", step=step, attempt=4, **ROWS[machine.kind], **values)
    signature = remaining_chain(machine, row)
    parts = [signature, *signature.options.get("chain", [])[::-1]]
    assert all(part.immutable for part in parts), "a step takes nothing from the one before it"
    return [(part.task, part.args, part.options["queue"]) for part in parts]


@pytest.mark.parametrize("step", TRAINING.steps)
def test_a_training_goes_on_from_its_step(step: str) -> None:
    remaining = TRAINING.steps[TRAINING.steps.index(step) :]
    assert chained(TRAINING, step) == [
        (
            f"training.{name}",
            ("acme", "the-row", name, 4),
            TRAINING_QUEUES[f"training.{name}"],
        )
        for name in remaining
    ]


@pytest.mark.parametrize("step", ADAPTER.steps)
def test_an_adapter_goes_on_from_its_step(step: str) -> None:
    found = chained(ADAPTER, step)
    assert [task for task, _, _ in found] == [
        f"adapter.{name}" for name in ADAPTER.steps_from(step)
    ]
    assert {task: queue for task, _, queue in found}.items() <= ADAPTER_QUEUES.items()


def test_an_adapter_with_a_receipt_does_not_wait_behind_a_training() -> None:
    queues = {
        task: queue for task, _, queue in chained(ADAPTER, "fetch", evaluation={"scores": {}})
    }
    assert queues == {**ADAPTER_QUEUES, "adapter.evaluate": "bridge"}


def test_a_job_is_one_task() -> None:
    assert chained(JOB, "process") == [
        ("job.process", ("acme", "the-row", "process", 4), "inference")
    ]


def test_every_step_has_a_task_and_a_queue_that_exists() -> None:
    app.loader.import_default_modules()
    declared = {queue.name for queue in celeryconfig.task_queues}
    for machine in MACHINES.values():
        for step, queue in machine.queues.items():
            assert f"{machine.kind}.{step}" in app.tasks
            assert queue in declared
    for row in (TrainingRun, LoraAdapter, Job):
        assert any(machine.model is row for machine in MACHINES.values())
