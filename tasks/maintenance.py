"""Beat's ticks: shells over `tasks.reconciler` and the retention rules."""

from __future__ import annotations

from synapse.streams import connect
from synapse.trim import trim
from tasks import app, reconciler, retention


@app.task(name="maintenance.reconcile")
def reconcile() -> None:
    reconciler.reconcile()


@app.task(name="maintenance.trim_streams")
def trim_streams() -> None:
    with connect() as redis:
        trim(redis)


@app.task(name="maintenance.apply_retention")
def apply_retention() -> None:
    retention.apply()
