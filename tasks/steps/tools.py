"""The task of a tool call: the network, far from any GPU."""

from __future__ import annotations

from cyrex.tools.steps import perform
from cyrex.work.lease import Finish, Lease
from database.models import ToolCall
from tasks import app
from tasks.broker import dispatch
from tasks.steps.run import run_step


def _call(row: ToolCall, lease: Lease) -> Finish:
    return perform(row, lease, dispatch.broker())


@app.task(name="tool.call")
def call(company_id: str, call_id: str, step: str, attempt: int) -> None:
    """Carry the call out; the transaction that ends it lets its job go on."""
    run_step("tool", company_id, call_id, step, attempt, _call)
