"""Loaded by the workers of the chaos stack (`celery worker -I tests.chaos.armed_worker`)."""

from __future__ import annotations

from typing import Any

from kombu.transport.redis import Transport

import cyrex.tools.steps
import cyrex.training.train_step
import synapse.relay
import tasks.steps.jobs
import tasks.steps.run
from modelkit.store_registry import StoreRegistry
from synapse.group import Group
from tasks.broker import dispatch
from tests.chaos.kill_points import after, before, strike

# Beat's ticks come every two seconds: dying on one shows nothing that the others do not.
TICKS = "maintenance"

_deliver = Transport._deliver
_ack = Group.ack
_publish = dispatch.publish


def _deliver_or_die(self: Transport, message: Any, queue: str) -> None:
    if TICKS not in queue and "pidbox" not in queue:
        strike("brpop_start")
    _deliver(self, message, queue)


def _ack_or_die(self: Group, entries: Any) -> None:
    entries = list(entries)
    if entries:
        strike("commit_xack")
    _ack(self, entries)


def _publish_or_die(machine: Any, rows: Any) -> int:
    rows = list(rows)
    if rows:
        strike("commit_publish")
    return _publish(machine, rows)


Transport._deliver = _deliver_or_die
Group.ack = _ack_or_die  # type: ignore[method-assign]
dispatch.publish = _publish_or_die
tasks.steps.run.run_step = before("start_claim", tasks.steps.run.run_step)
tasks.steps.jobs.answer = after("answer_row", tasks.steps.jobs.answer)
cyrex.tools.steps.send = after("tool_row", cyrex.tools.steps.send)
# The relay marks its rows by an UPDATE right after Redis has taken their events.
synapse.relay.update = before("xadd_commit", synapse.relay.update)
cyrex.training.train_step.put_package = after("package_row", cyrex.training.train_step.put_package)
StoreRegistry.register_model = after(  # type: ignore[method-assign]
    "registry_row", StoreRegistry.register_model
)
