"""Send one call to its tool: the request, repetitions, and the result without its secrets.

Nothing here reads or writes a row: `cyrex.tools.steps` does, and calls this.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cyrex.tools import sealing
from cyrex.tools.client import ToolFailed, ToolRequest, ToolResponse, call
from cyrex.tools.connection import CallLimits
from cyrex.tools.definition import is_secret_header
from cyrex.tools.service import Tool
from database.base import Json

# Tries of one call of an idempotent tool, and the first pause between them. Each pause is twice
# the one before, more or less by half: calls that failed together do not come back together.
TRIES = 4
FIRST_PAUSE_SECONDS = 0.5
JITTER = 0.5
MAX_PAUSE_SECONDS = 10.0
# Answers that another try may change.
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
EXCERPT_CHARACTERS = 300
# Shorter secrets would make holes in any text.
MIN_REDACTED_CHARACTERS = 6
REDACTED = "[secret]"


def request_of(tool: Tool, arguments: Json, idempotency_key: str) -> ToolRequest:
    """The HTTP request, secrets in it. Raises `UserError` when they cannot be read.

    GET and DELETE carry the arguments in the query, the others as a JSON body.
    """
    hidden = sealing.decrypt(tool.company_id, tool.sealed)
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
class CallResult:
    """How a call ended. `state` is the row's: completed, failed or unknown."""

    state: str
    result: Json | None
    error: Json | None


def send(
    tool: Tool,
    arguments: Json,
    idempotency_key: str,
    before_send: Callable[[], None] = lambda: None,
    limits: CallLimits | None = None,
    tries: int = TRIES,
    allowed: Callable[[int], bool] = lambda _attempt: True,
    acted: bool = False,
) -> CallResult:
    """Make the call: once, or up to `tries` times when nothing was sent or the tool is idempotent.

    `allowed(n)` is asked before the n-th repetition whether the rate limit lets it through.
    `acted`: the tool may have acted on an earlier request of this call.
    Raises `UserError` when the secrets cannot be read, and what `before_send` raises.
    """
    request = request_of(tool, arguments, idempotency_key)
    limits = limits or CallLimits.of_settings()
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
) -> CallResult:
    shown: Json = {"seconds": round(seconds, 3), "tries": tries}
    if isinstance(answer, ToolFailed):
        shown["status_code"] = answer.answered
        return without_result(answer.code, answer.message, shown, acted)
    body = answer.body
    value = _redacted(body.value, _secrets_in(request))
    shown |= {"status_code": answer.status, "body": value, "content_type": body.content_type}
    if body.note is not None:
        shown["note"] = body.note
    if answer.ok:
        return CallResult("completed", shown, None)
    said = _as_text(value)[:EXCERPT_CHARACTERS] if value is not None else body.note
    message = f"the tool answered {answer.status}: {said}"
    return without_result("http_error", message, shown, acted)


def without_result(code: str, message: str, shown: Json | None, acted: bool) -> CallResult:
    """It did not work; where an earlier request may have, nobody can say that it failed."""
    if acted:
        message += "; whether the tool acted is not known"
    return CallResult("unknown" if acted else "failed", shown, {"code": code, "message": message})


def _secrets_in(request: ToolRequest) -> list[str]:
    found = {
        value.removeprefix("Bearer ")
        for name, value in request.headers.items()
        if is_secret_header(name)
    }
    return [value for value in found if len(value) >= MIN_REDACTED_CHARACTERS]


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
