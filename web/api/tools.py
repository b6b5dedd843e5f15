"""`/company-automation/register-tools` and the tools that it registers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from flask import Response, jsonify, request

from cyrex.errors import TooMany
from cyrex.tools import service
from cyrex.tools.calls import check_call
from cyrex.tools.connection import CallLimits
from cyrex.tools.rate_limit import take_turn
from cyrex.tools.send import send
from database.base import Json, new_id
from tasks.broker.connection import broker
from web.http.auth import company_of, require_company, session_for
from web.http.idempotency import Once, StoredAnswer
from web.http.openapi import AUTOMATION, blueprint, documented, refusals
from web.live.waiting import Seats
from web.shapes import tools as shapes
from web.shapes.common import CompanyQuery, CreateHeaders

api = blueprint("tools", __name__, "/company-automation", AUTOMATION)

# A test call holds a thread of the API, so it is short, and few run at a time in a process.
TEST_SECONDS = 10.0
MAX_TESTS = 8
EXCERPT_CHARACTERS = 4000
_tests = Seats(MAX_TESTS)


@api.post(
    "/register-tools",
    summary="Register tools",
    responses=documented((200, shapes.ToolsRegistered), creates=True),
)
def register_tools(header: CreateHeaders, body: shapes.RegisterTools) -> Response:
    """Adds tools, or replaces tools of the same name. After an error none of them is registered.

    Tokens, keys and headers that look like secrets are stored encrypted and never shown again.
    """
    company_id = company_of(body.company_id)
    once = Once.of_request(header.idempotency_key, company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)

        def register() -> StoredAnswer:
            tools = service.register(session, company_id, body.tools)
            return StoredAnswer(200, _registered(company_id, tools))

        stored, replayed = once.do(session, register)
    return stored.response(replayed)


def _registered(company_id: str, tools: list[service.Tool]) -> Json:
    names = [tool.name for tool in tools]
    return {
        "company_id": company_id,
        "registered": names,
        "tools": [service.tool_view(tool) for tool in tools],
        "message": f"{len(names)} tool{'s' if len(names) != 1 else ''} registered",
    }


@api.get("/tools", summary="List tools, by name", responses=documented((200, shapes.Tools)))
def list_tools(query: CompanyQuery) -> Response:
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        found = service.registered(session, company_id)
    return jsonify({"tools": [service.tool_view(tool) for tool in found]})


@api.get("/tools/<name>", summary="Look at a tool", responses=documented((200, shapes.ToolView)))
def get_tool(path: shapes.ToolPath, query: CompanyQuery) -> Response:
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        return jsonify(service.tool_view(service.get_tool(session, company_id, path.name)))


@api.put(
    "/tools/<name>",
    summary="Replace a tool",
    responses=documented((200, shapes.ToolView), creates=True),
)
def replace_tool(path: shapes.ToolPath, query: CompanyQuery, body: shapes.ReplaceTool) -> Response:
    """Replaces the whole definition, secrets too. To change one field use PATCH."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        tool = service.replace_tool(session, company_id, path.name, request.get_json())
        return jsonify(service.tool_view(tool))


@api.patch(
    "/tools/<name>",
    summary="Change a tool",
    responses=documented((200, shapes.ToolView), creates=True),
)
def change_tool(path: shapes.ToolPath, query: CompanyQuery, body: shapes.ChangeTool) -> Response:
    """Fields that are left out stay, secrets too. When the endpoint moves to another host, `auth`
    and secret headers must be sent again."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        tool = service.change_tool(session, company_id, path.name, request.get_json())
        return jsonify(service.tool_view(tool))


@api.delete(
    "/tools/<name>", summary="Delete a tool", responses=documented((200, shapes.ToolDeleted))
)
def delete_tool(path: shapes.ToolPath, query: CompanyQuery) -> Response:
    """Calls that are not sent yet fail. Earlier calls stay in the records of their jobs."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        service.delete_tool(session, company_id, path.name)
    return jsonify({"name": path.name, "deleted": True})


@api.post(
    "/tools/<name>/test",
    summary="Call a tool once",
    responses={**documented((200, shapes.ToolTested), limited=True), **refusals(413, 415)},
)
def test_tool(path: shapes.ToolPath, query: CompanyQuery, body: shapes.ToolTrial) -> Response:
    """Makes a real call of at most ten seconds, under the tool's rate limit, and answers its
    outcome."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        tool = service.get_tool(session, company_id, path.name)
    check_call(tool, body.arguments)
    if not _tests.take(company_id):
        raise TooMany("too_many_tests", "as many test calls are running as may; try again")
    try:
        wait = take_turn(tool, broker())
        if wait:
            message = f"the tool's rate limit lets it be called in {wait:.1f} s"
            raise TooMany("rate_limited", message, retry_after_seconds=wait)
        limits = CallLimits.of_settings()
        limits = replace(limits, total=min(limits.total, TEST_SECONDS))
        result = send(tool, body.arguments, new_id(), limits=limits, tries=1)
    finally:
        _tests.leave(company_id)
    shown = result.result or {}
    text, truncated = _excerpt(shown.get("body"))
    return jsonify(
        {
            "name": tool.name,
            "status": result.state,
            "status_code": shown.get("status_code"),
            "seconds": shown.get("seconds"),
            "content_type": shown.get("content_type"),
            "body": text,
            "truncated": truncated,
            "note": shown.get("note"),
            "error": result.error,
        }
    )


def _excerpt(body: Any) -> tuple[Any, bool]:
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    if len(text) <= EXCERPT_CHARACTERS:
        return body, False
    return text[:EXCERPT_CHARACTERS], True
