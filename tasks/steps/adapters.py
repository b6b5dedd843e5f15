"""The tasks of an announced adapter."""

from __future__ import annotations

from cyrex.adapters import disposal, promotion
from cyrex.adapters import steps as adapter_steps
from cyrex.work.lease import Advance, Lease, Outcome
from database.models import LoraAdapter
from database.transitions import ADAPTER
from tasks import app
from tasks.broker import dispatch
from tasks.inference import engine
from tasks.steps.run import step


@step(ADAPTER, "fetch")
def fetch(adapter: LoraAdapter, lease: Lease) -> Outcome:
    return adapter_steps.fetch(adapter, lease)


@step(ADAPTER, "evaluate")
def evaluate(adapter: LoraAdapter, lease: Lease) -> Outcome:
    return adapter_steps.evaluate(adapter, lease)


@step(ADAPTER, "warm")
def warm(adapter: LoraAdapter, _lease: Lease) -> Outcome:
    """Load it here, and ask the other inference workers to: a hint, loading on demand is sure."""
    engine.warm(adapter)
    wanted = {"company_id": adapter.company_id, "adapter_id": adapter.adapter_id}
    dispatch.broadcast("warm_adapter", wanted)
    return Advance()


@step(ADAPTER, "decide")
def decide(adapter: LoraAdapter, _lease: Lease) -> Outcome:
    return promotion.decide(adapter)


@app.task(name=dispatch.SETTLE)
def settle(company_id: str) -> None:
    """What follows a person's decision; the sweep does again what fails here."""
    for sha256 in disposal.settle(company_id):
        dispatch.broadcast("forget_package", {"sha256": sha256})
