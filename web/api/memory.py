"""`/company-automation/memory`: what is remembered of a company's jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify

from cyrex.agents import memory as service
from web.http.auth import company_of, company_or_all, require_company, session_for
from web.http.openapi import AUTOMATION, blueprint
from web.http.openapi import answers as answered
from web.http.paging import page_of
from web.shapes import requests as schemas
from web.shapes import tools as tool_shapes

api = blueprint("memory", __name__, "/company-automation/memory", AUTOMATION)


@api.get("", summary="List or search memory", responses=answered((200, tool_shapes.Memories)))
def list_memory(query: tool_shapes.MemoryQuery) -> Response:
    """Newest first; with `q`, those whose words match it."""
    company_id = company_or_all(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        rows: Sequence[Any] = service.list_memory(
            session, company_id, query.q, limit=query.limit + 1, after=query.after
        )
        shown, next_after = page_of(rows, query.limit, "memory_id")
        found = [service.memory_view(row) for row in shown]
    return jsonify({"memory": found, "next_after": next_after})


@api.delete(
    "/<memory_id>", summary="Forget one thing", responses=answered((200, tool_shapes.Forgotten))
)
def forget(path: tool_shapes.MemoryPath) -> Response:
    with session_for(None) as session:
        service.forget(session, path.memory_id)
    return jsonify({"deleted": 1})


@api.delete("", summary="Forget everything", responses=answered((200, tool_shapes.Forgotten)))
def forget_all(query: schemas.OfCompany) -> Response:
    """Deletes all that is remembered of the company; its jobs stay."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        return jsonify({"deleted": service.forget_all(session, company_id)})
