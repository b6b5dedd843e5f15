"""Calls of tools: made by the agent as rows, carried out by a worker, at most once.

Before the first byte of a request leaves, `sent_at` is committed. A worker that finds it set on a
call that it has just claimed knows that another was on its way with it: the tool may have acted.
An idempotent tool is then asked again under the same `Idempotency-Key`, which is the call's id, if
it was asked under that key by that worker too; any other call ends as `unknown`, and the agent is
told so. A call that may have been acted upon never ends as `failed`.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import structlog
from sqlalchemy import func

from cyrex.errors import UserError
from cyrex.tools import sealing as secrets
from cyrex.tools.client import ToolFailed, ToolRequest, ToolResponse, call
from cyrex.tools.connection import Limits
from cyrex.tools.definition import is_secret_header
from cyrex.tools.rate_limit import Scripted, take
from cyrex.tools.service import Tool, get_tool
from cyrex.work.lease import Finish, Lease
from database import claims
from database.base import Json, interval, new_id
from database.models import Job, ToolCall
from database.session import company_session
from database.transitions import JOB

log = structlog.get_logger()

# Wait for a turn this long in place; for longer, give the call back and the thread to others.
PATIENCE_SECONDS = 2.0
# Tries of one call of an idempotent tool, and the first pause between them. Each pause is twice
# the one before, more or less by half: calls that failed together do not come back together.
TRIES = 4
FIRST_PAUSE_SECONDS = 0.5
JITTER = 0.5
MAX_PAUSE_SECONDS = 10.0
# Answers that another try may change.
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
EXCERPT = 300
# The reconciler's: a row that was hinted at once is hinted at again after so long.
HINT_SECONDS = 5.0
# Shorter secrets would make holes in any text.
MIN_REDACTED = 6
REDACTED = "[secret]"


def request_of(tool: Tool, arguments: Json, idempotency_key: str) -> ToolRequest:
    """The HTTP request, secrets in it. Raises `UserError` when they cannot be read.

    GET and DELETE carry the arguments in the query, the others as a JSON body.
    """
    hidden = secrets.decrypt(tool.company_id, tool.sealed)
    headers = {**tool.headers, **hidden.get("headers", {})}
    if tool.auth is not None:
        bearer = tool.auth["type"] == "bearer"
        name = "Authorization" if bearer else tool.auth["header"]
        headers[name] = f"Bearer {hidden['auth']}" if bearer else hidden["auth"]
    key = idempotency_key if tool.idempotent else None
    if tool.method in ("GET", "DELETE"):
        query = urlencode({name: _as_text(value) for name, value in arguments.items()})
        mark = "&" if "?" in tool.endpoint else "?"
        url = f"{tool.endpoint}{mark}{query}" if query else tool.endpoint
        return ToolRequest(tool.method, url, headers, None, key)
    body = json.dumps(arguments, ensure_ascii=False).encode()
    return ToolRequest(tool.method, tool.endpoint, headers, body, key)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Result:
    """How a call ended. `state` is the row's: completed, failed or unknown."""

    state: str
    result: Json | None
    error: Json | None


def send(
    tool: Tool,
    arguments: Json,
    idempotency_key: str,
    before_send: Callable[[], None] = lambda: None,
    limits: Limits | None = None,
    tries: int = TRIES,
    allowed: Callable[[int], bool] = lambda _attempt: True,
    acted: bool = False,
) -> Result:
    """Make the call: once, or up to `tries` times when nothing was sent or the tool is idempotent.

    `allowed(n)` is asked before the n-th repetition whether the rate limit lets it through.
    `acted`: the tool may have acted on an earlier request of this call.
    Raises `UserError` when the secrets cannot be read, and what `before_send` raises.
    """
    request = request_of(tool, arguments, idempotency_key)
    limits = limits or Limits.of_settings()
    ends = time.monotonic() + limits.total
    started = time.monotonic()
    for attempt in range(1, tries + 1):
        answer: ToolResponse | ToolFailed
        try:
            answer = call(request, limits, before_send)
        except ToolFailed as error:
            answer = error
            acted = acted or (error.sent and error.answered is None)
        pause = _pause(answer, attempt)
        unsent = isinstance(answer, ToolFailed) and not answer.sent
        again = (tool.idempotent or unsent) and attempt < tries and pause is not None
        if not again or time.monotonic() + (pause or 0) >= ends or not allowed(attempt):
            break
        time.sleep(pause or 0)
    return _result(answer, request, acted, time.monotonic() - started, attempt)


def _pause(answer: ToolResponse | ToolFailed, attempt: int) -> float | None:
    """Seconds before another try, None where it would change nothing."""
    usual = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * random.uniform(1 - JITTER, 1 + JITTER)
    if isinstance(answer, ToolFailed):
        return usual if answer.code in ("not_connected", "timed_out", "broken_answer") else None
    if answer.status not in PASSING_STATUSES:
        return None
    wanted = max(usual, answer.retry_after or 0)
    return wanted if wanted <= MAX_PAUSE_SECONDS else None


def _result(
    answer: ToolResponse | ToolFailed,
    request: ToolRequest,
    acted: bool,
    seconds: float,
    tries: int,
) -> Result:
    shown: Json = {"seconds": round(seconds, 3), "tries": tries}
    if isinstance(answer, ToolFailed):
        shown["status_code"] = answer.answered
        return _without_result(answer.code, answer.message, shown, acted)
    body = answer.body
    value = _redacted(body.value, _secrets_in(request))
    shown |= {"status_code": answer.status, "body": value, "content_type": body.content_type}
    if body.note is not None:
        shown["note"] = body.note
    if answer.ok:
        return Result("completed", shown, None)
    said = _as_text(value)[:EXCERPT] if value is not None else body.note
    message = f"the tool answered {answer.status}: {said}"
    return _without_result("http_error", message, shown, acted)


def _without_result(code: str, message: str, shown: Json | None, acted: bool) -> Result:
    """It did not work; where an earlier request may have, nobody can say that it failed."""
    if acted:
        message += "; whether the tool acted is not known"
    return Result("unknown" if acted else "failed", shown, {"code": code, "message": message})


def _secrets_in(request: ToolRequest) -> list[str]:
    found = {
        value.removeprefix("Bearer ")
        for name, value in request.headers.items()
        if is_secret_header(name)
    }
    return [value for value in found if len(value) >= MIN_REDACTED]


def _redacted(value: Any, hidden: list[str]) -> Any:
    """The answer of a tool that repeats what it was sent must not bring the secrets to light."""
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, REDACTED)
        return value
    if isinstance(value, list):
        return [_redacted(item, hidden) for item in value]
    if isinstance(value, dict):
        return {_redacted(key, hidden): _redacted(item, hidden) for key, item in value.items()}
    return value


def perform(row: ToolCall, lease: Lease, client: Scripted) -> Finish:
    """Carry out a claimed call. Raises `redis.RedisError` when its turn cannot be asked for, and
    `claims.Lost` when the call was put off until its turn."""
    try:
        return _finish(_perform(row, lease, client))
    except UserError as error:
        if row.sent_at is None:
            raise
        return _finish(_without_result(error.code, error.message, None, acted=True))


def _perform(row: ToolCall, lease: Lease, client: Scripted) -> Result:
    """Raises `UserError` for a call that is not made, or not made again."""
    with company_session(row.company_id) as session:
        job = session.get_one(Job, row.job_id)
        tool = get_tool(session, row.company_id, row.tool_name)
    name = _name_under_key(tool)
    if row.sent_at is not None and (name is None or row.sent_under != name):
        raise UserError("outcome_unknown", "the worker was lost while it called the tool")
    if job.status in JOB.terminal or job.cancel_requested:
        raise UserError("job_ended", "the job ended before its tool was called")
    _await_turn(tool, row, lease, job, client)

    def allowed(attempt: int) -> bool:
        return _turn(tool, f"{row.call_id}:{row.attempt}:{attempt}", client) == 0

    def before_send() -> None:
        lease.renew(sent_at=func.now(), sent_under=name)

    return send(
        tool,
        row.arguments,
        row.call_id,
        before_send,
        allowed=allowed,
        acted=row.sent_at is not None,
    )


def _name_under_key(tool: Tool) -> str | None:
    """Of who is asked under an `Idempotency-Key`: another method or place would know nothing of
    it. None: the tool is asked without one."""
    if not tool.idempotent:
        return None
    return hashlib.sha256(f"{tool.method} {tool.endpoint}".encode()).hexdigest()


def _finish(found: Result) -> Finish:
    log.info("tool_called", status=found.state, error=(found.error or {}).get("code"))
    return Finish(found.state, {"result": found.result, "error": found.error})


def _turn(tool: Tool, name: str, client: Scripted) -> float:
    """0: go; else the seconds until it is worth asking again."""
    if tool.rate_limit is None:
        return 0.0
    limit = tool.rate_limit
    return take(client, tool.company_id, tool.name, limit["requests"], limit["window"], name)


def take_turn(tool: Tool, client: Scripted) -> float:
    """For a call that is made at once or not at all. Raises `redis.RedisError`."""
    return _turn(tool, new_id(), client)


def _await_turn(tool: Tool, row: ToolCall, lease: Lease, job: Job, client: Scripted) -> None:
    """Return when the rate limit lets the call through; a long wait is spent in the database."""
    patience = PATIENCE_SECONDS
    while wait := _turn(tool, f"{row.call_id}:{row.attempt}", client):
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
