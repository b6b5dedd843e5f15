"""The tasks of an announced adapter: shells over `cyrex.adapters`."""

from __future__ import annotations

from cyrex.adapters import steps as adapter_steps
from cyrex.adapters.promotion import decide as decide_adapter
from cyrex.work.lease import Advance, GivenBack, Lease, Outcome
from database.models import LoraAdapter
from tasks import app
from tasks.broker import dispatch
from tasks.inference.engine import warm as warm_engine
from tasks.steps.run import run_step
from tasks.workers.presence import leaving


@app.task(name="adapter.fetch")
def fetch(company_id: str, adapter_id: str, step: str, attempt: int) -> None:
    run_step("adapter", company_id, adapter_id, step, attempt, adapter_steps.fetch)


def _stop() -> bool:
    if leaving.is_set():
        raise GivenBack("the worker is leaving")
    return False


@app.task(name="adapter.evaluate")
def evaluate(company_id: str, adapter_id: str, step: str, attempt: int) -> None:
    run_step(
        "adapter",
        company_id,
        adapter_id,
        step,
        attempt,
        lambda adapter, lease: adapter_steps.evaluate(adapter, lease, _stop),
    )


def _warm(adapter: LoraAdapter, lease: Lease) -> Outcome:
    """Load it here, and ask the other inference workers to: a hint, loading on demand is sure."""
    warm_engine(adapter)
    wanted = {"company_id": adapter.company_id, "adapter_id": adapter.adapter_id}
    dispatch.broadcast("warm_adapter", wanted)
    return Advance()


@app.task(name="adapter.warm")
def warm(company_id: str, adapter_id: str, step: str, attempt: int) -> None:
    run_step("adapter", company_id, adapter_id, step, attempt, _warm)


@app.task(name="adapter.decide")
def decide(company_id: str, adapter_id: str, step: str, attempt: int) -> None:
    run_step(
        "adapter", company_id, adapter_id, step, attempt, lambda row, _lease: decide_adapter(row)
    )
