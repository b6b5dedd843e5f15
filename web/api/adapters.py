"""`/company-automation/adapters`: the adapters that trainings produced."""

from __future__ import annotations

from flask import Response, jsonify

from cyrex.adapters import service
from web.http.auth import company_or_all, require_company, session_for
from web.http.openapi import ADAPTERS, blueprint, documented
from web.http.paging import page_of
from web.shapes import adapters as shapes

api = blueprint("adapters", __name__, "/company-automation", ADAPTERS)


@api.get(
    "/adapters",
    summary="List adapters, newest first",
    responses=documented((200, shapes.Adapters)),
)
def list_adapters(query: shapes.AdapterQuery) -> Response:
    company_id = company_or_all(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        rows = service.list_adapters(
            session, company_id, status=query.status, limit=query.limit + 1, after=query.after
        )
        shown, next_after = page_of(rows, query.limit, "adapter_id")
        champions = service.champion_ids(session, company_id)
        found = [service.adapter_view(row, champions) for row in shown]
    return jsonify({"adapters": found, "next_after": next_after})


@api.get(
    "/adapters/<adapter_id>",
    summary="Look at an adapter",
    responses=documented((200, shapes.ResidentAdapterView)),
)
def get_adapter(path: shapes.AdapterPath) -> Response:
    with session_for(None) as session:
        row = service.get_adapter(session, path.adapter_id)
        champions = service.champion_ids(session, row.company_id)
        resident = service.resident_on(session, row.company_id, row.adapter_id)
        return jsonify({**service.adapter_view(row, champions), "resident": resident})
