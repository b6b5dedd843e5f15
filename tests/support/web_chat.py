"""Chat completions in tests: send requests, check answers, read usage."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from database.models import Usage
from database.session import company_session
from tests.support.web import Api
from web.shapes import chat as shapes

MESSAGES = [{"role": "user", "content": "what about the invoices?"}]
PATH = "/v1/chat/completions"


def ask(api: Api, **fields: Any) -> Any:
    body = {"model": "base", "messages": MESSAGES, "max_tokens": 20, "temperature": 0, **fields}
    return api.post(PATH, body)


def whole(api: Api, **fields: Any) -> dict[str, Any]:
    response = ask(api, **fields)
    assert response.status_code == 200, response.text
    shapes.ChatCompletion.model_validate(response.json)
    found: dict[str, Any] = response.json
    return found


def events_of(response: Any) -> list[Any]:
    """The events of a stream, parsed; the final `[DONE]` stays text."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def usage_rows(company_id: str) -> list[Usage]:
    with company_session(company_id) as session:
        return list(session.scalars(select(Usage).where(Usage.kind == "conversation")))
