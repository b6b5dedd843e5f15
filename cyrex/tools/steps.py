"""The step of a tool call: a worker carries a claimed call out, at most once.

Before the first byte of a request leaves, `sent_at` is committed. A worker that finds it set on a
call that it has just claimed knows that another was on its way with it: the tool may have acted.
An idempotent tool is then asked again under the same `Idempotency-Key`, which is the call's id, if
it was asked under that key by that worker too; any other call ends as `unknown`, and the agent is
told so. A call that may have been acted upon never ends as `failed`.
"""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime

import structlog
from sqlalchemy import func

from cyrex.errors import UserError
from cyrex.tools.rate_limit import Scripted, take_turn
from cyrex.tools.send import CallResult, send, without_result
from cyrex.tools.service import Tool, get_tool
from cyrex.work.lease import Finish, Lease
from database import claims
from database.base import interval
from database.models import Job, ToolCall
from database.session import company_session
from database.transitions import JOB

log = structlog.get_logger()

# Wait for a turn this long in place; for longer, give the call back and the thread to others.
PATIENCE_SECONDS = 2.0
# The reconciler's: a row that was hinted at once is hinted at again after so long.
HINT_SECONDS = 5.0


def perform(row: ToolCall, lease: Lease, client: Scripted) -> Finish:
    """Carry out a claimed call. Raises `redis.RedisError` when its turn cannot be asked for, and
    `claims.Lost` when the call was put off until its turn."""
    try:
        return _finish(_carry_out(row, lease, client))
    except UserError as error:
        if row.sent_at is None:
            raise
        return _finish(without_result(error.code, error.message, None, acted=True))


def _carry_out(row: ToolCall, lease: Lease, client: Scripted) -> CallResult:
    """Raises `UserError` for a call that is not made, or not made again."""
    with company_session(row.company_id) as session:
        job = session.get_one(Job, row.job_id)
        tool = get_tool(session, row.company_id, row.tool_name)
    scope = _key_scope(tool)
    if row.sent_at is not None and (scope is None or row.sent_under != scope):
        raise UserError("outcome_unknown", "the worker was lost while it called the tool")
    if job.status in JOB.terminal or job.cancel_requested:
        raise UserError("job_ended", "the job ended before its tool was called")
    _await_turn(tool, row, lease, job, client)

    def allowed(attempt: int) -> bool:
        return take_turn(tool, client, f"{row.call_id}:{row.attempt}:{attempt}") == 0

    def before_send() -> None:
        lease.renew(sent_at=func.now(), sent_under=scope)

    return send(
        tool,
        row.arguments,
        row.call_id,
        before_send,
        allowed=allowed,
        acted=row.sent_at is not None,
    )


def _key_scope(tool: Tool) -> str | None:
    """Name the method and place that know the call's `Idempotency-Key`; another knows nothing of
    it. None: the tool is asked without a key."""
    if not tool.idempotent:
        return None
    return hashlib.sha256(f"{tool.method} {tool.endpoint}".encode()).hexdigest()


def _finish(found: CallResult) -> Finish:
    log.info("tool_called", status=found.state, error=(found.error or {}).get("code"))
    return Finish(found.state, {"result": found.result, "error": found.error})


def _await_turn(tool: Tool, row: ToolCall, lease: Lease, job: Job, client: Scripted) -> None:
    """Return when the rate limit lets the call through; a long wait is spent in the database."""
    patience = PATIENCE_SECONDS
    while wait := take_turn(tool, client, f"{row.call_id}:{row.attempt}"):
        left = (job.deadline_at - datetime.now(UTC)).total_seconds() if job.deadline_at else wait
        if wait > left:
            limit = tool.rate_limit or {}
            raise UserError(
                "rate_limited",
                f"the tool may be called {limit['requests']} times in {limit['window']} s; "
                f"its turn comes in {wait:.0f} s, after the job's deadline",
            )
        if wait > patience:
            _put_off(row, lease, wait)
        patience -= wait
        time.sleep(wait)


def _put_off(row: ToolCall, lease: Lease, seconds: float) -> None:
    """Give the call back, to be hinted at again when its turn comes. Always raises `Lost`."""
    # The reconciler hints at a row that was published once when it has waited for HINT_SECONDS.
    due = interval(seconds - HINT_SECONDS)
    with company_session(row.company_id) as session:
        lease.write(
            session,
            lease_owner=None,
            attempt=row.attempt + 1,
            published_at=func.now() + due,
            publications=1,
        )
    raise claims.Lost(f"tool call {row.call_id}: its turn comes in {seconds:.1f} s")
