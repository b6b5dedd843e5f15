"""Beat's ticks: shells over `tasks.reconciler` and `tasks.retention`."""

from __future__ import annotations

from tasks import app, reconciler, retention


@app.task(name="maintenance.reconcile")
def reconcile() -> None:
    reconciler.reconcile()


@app.task(name="maintenance.republish")
def republish() -> None:
    reconciler.republish_lost_events()


@app.task(name="maintenance.apply_retention")
def apply_retention() -> None:
    retention.apply()
