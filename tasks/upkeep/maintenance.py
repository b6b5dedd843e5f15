"""Beat's ticks: shells over the modules beside this one and `tasks.broker.queues`."""

from __future__ import annotations

import time
from typing import Any

from cyrex.adapters import disposal
from cyrex.recovery import blob_sweep
from cyrex.schedules import firing as schedule_fires
from cyrex.training import checkpoints
from database.session import operator_session
from synapse.outbox import wake
from tasks import SENT_AT, app
from tasks.broker import dispatch, queues
from tasks.broker.connection import broker
from tasks.upkeep import reconciler, retention


@app.task(name="maintenance.reconcile")
def reconcile() -> None:
    reconciler.reconcile()


@app.task(name="maintenance.republish")
def republish() -> None:
    reconciler.republish_lost_events()


@app.task(name="maintenance.apply_retention")
def apply_retention() -> None:
    reconciler.republish_lost_events(all_of_them=True)
    retention.apply()


@app.task(name="maintenance.fire_schedules")
def fire_schedules() -> None:
    """Ask for the trainings that are due; the relay hears of their events at once."""
    if schedule_fires.fire_due():
        wake(broker())


@app.task(name="maintenance.sweep")
def sweep() -> None:
    """Delete old checkpoints, old histories of schedules, deleted adapters whose bytes are still
    there, and bytes that no row names."""
    checkpoints.forget_old()
    schedule_fires.forget_old()
    for company_id in disposal.unsettled():
        dispatch.hint_settle(company_id)
    blob_sweep.sweep()


@app.task(name="maintenance.canary", bind=True)
def canary(self: Any) -> None:
    """Say that the queue by which this message came is worked on."""
    request = self.request
    queue = str((request.delivery_info or {}).get("routing_key"))
    sent_at = float((request.headers or {}).get(SENT_AT, time.time()))
    with operator_session() as session:
        queues.record_canary(session, queue, request.hostname, max(0.0, time.time() - sent_at))
