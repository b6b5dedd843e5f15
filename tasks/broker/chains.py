"""The tasks that a row still needs, with the queue and the priority of each."""

from __future__ import annotations

from typing import Any

from celery import Signature

from database.transitions import Machine
from tasks import app
from tasks.broker.connection import broker
from tasks.broker.routing import COMMON_QUEUE, route

# The broker hands out lower numbers first (see `priority_steps`). Only a training can keep others
# waiting for long. A row that lost its worker has waited its turn once.
PRIORITY = 3
PRIORITIES = {("training", "train"): 5}
AGAIN = 0


def _queue(machine: Machine, row: Any, step: str) -> str:
    # Looking at a receipt must not wait behind somebody's hour of training.
    if (machine.kind, step) == ("adapter", "evaluate") and row.evaluation is not None:
        return "bridge"
    queue = machine.queues[step]
    if (machine.kind, queue) == ("job", COMMON_QUEUE):
        # A preference is for a first try: whoever is free goes on with what came to nothing.
        again = row.history or (row.publications or 0) > 1
        return COMMON_QUEUE if again else route(row.company_id, broker())
    return queue


def _priority(machine: Machine, row: Any, step: str) -> int:
    if (machine.kind, step) in PRIORITIES:
        return PRIORITIES[machine.kind, step]
    return AGAIN if row.history and step == row.step else PRIORITY


def remaining_chain(machine: Machine, row: Any) -> Signature:
    """The tasks that a row still needs, from its step on. The only builder of a chain.

    The first task carries the others, the last one first: what Celery's own `chain` comes to,
    without the copies that it makes on the way. Each task names (company, row, step, attempt); a
    task that cannot claim exactly that is void, so publishing a chain twice does nothing twice.
    """
    first, *rest = (
        app.signature(
            f"{machine.kind}.{step}",
            args=(row.company_id, getattr(row, machine.key), step, row.attempt),
            immutable=True,
            queue=_queue(machine, row, step),
            priority=_priority(machine, row, step),
        )
        for step in machine.steps_from(row.step)
    )
    if rest:
        first.options["chain"] = rest[::-1]
    return first
