"""`/company-automation/memory`: what the company's agents remember of its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify

from cyrex.agents import memory as service
from web.http.auth import company_of, company_or_all, require_company, session_for
from web.http.openapi import AUTOMATION, blueprint, documented
from web.http.paging import page_of
from web.shapes import memory as shapes
from web.shapes.common import CompanyQuery

api = blueprint("memory", __name__, "/company-automation/memory", AUTOMATION)


@api.get("", summary="List or search memory", responses=documented((200, shapes.Memories)))
def list_memory(query: shapes.MemoryQuery) -> Response:
    """Newest first; with `q`, only the memories that match it."""
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
    "/<memory_id>", summary="Delete one memory", responses=documented((200, shapes.Forgotten))
)
def forget(path: shapes.MemoryPath) -> Response:
    with session_for(None) as session:
        service.forget(session, path.memory_id)
    return jsonify({"deleted": 1})


@api.delete("", summary="Delete all memory", responses=documented((200, shapes.Forgotten)))
def forget_all(query: CompanyQuery) -> Response:
    """Deletes the company's whole memory; its jobs stay."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        return jsonify({"deleted": service.forget_all(session, company_id)})
