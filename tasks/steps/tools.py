"""The task of a tool call: the network, far from any GPU."""

from __future__ import annotations

from cyrex.tools.steps import perform
from cyrex.work.lease import Lease, Outcome
from database.models import ToolCall
from database.transitions import TOOL_CALL
from tasks.broker.connection import broker
from tasks.steps.run import step


@step(TOOL_CALL, "call")
def call(row: ToolCall, lease: Lease) -> Outcome:
    """Carry the call out; the transaction that ends it lets its job go on."""
    return perform(row, lease, broker())
