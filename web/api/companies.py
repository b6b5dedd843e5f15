"""`/companies`: the tenants and their API keys."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from cyrex.errors import NotFound
from cyrex.tenants import keys, service
from database.base import Json
from database.session import operator_session
from web.http.auth import company_of, company_or_all, key_cache, require_operator, session_for
from web.http.idempotency import Once, StoredAnswer
from web.http.openapi import COMPANIES, blueprint, documented
from web.http.paging import page_of
from web.shapes import companies as shapes
from web.shapes.common import CreateHeaders, Page

api = blueprint("companies", __name__, "/companies", COMPANIES)

CREATED = 201
SHOWN_ONCE = "keep api_key safe: it is shown in this answer only"
NOT_SHOWN_AGAIN = (
    "a repeated request: api_key was in the first answer and is not shown again; "
    "if it is lost, revoke it and make another"
)


def company_view(company: Any) -> Json:
    return {
        "company_id": company.company_id,
        "name": company.name,
        "context": company.context,
        "created_at": company.created_at.isoformat(),
    }


def _created(stored: StoredAnswer, location: str, secret: str | None) -> Response:
    """The answer with the new key; without `secret` it is a replay, which shows none."""
    shown = {"api_key": secret, "message": SHOWN_ONCE if secret else NOT_SHOWN_AGAIN}
    answer = StoredAnswer(stored.status_code, {**stored.answer, **shown})
    return answer.response(replayed=secret is None, location=location)


@api.post(
    "",
    summary="Create a company (operator)",
    responses=documented((CREATED, shapes.CompanyCreated), creates=True),
)
def create_company(header: CreateHeaders, body: shapes.NewCompany) -> Response:
    """Creates the company and its first API key, which only this answer shows."""
    require_operator()
    once = Once.of_request(header.idempotency_key, None)
    secret = None
    with operator_session() as session:

        def create() -> StoredAnswer:
            nonlocal secret
            company = service.create_company(
                session, body.company_id, body.name, body.context or {}
            )
            secret = keys.issue_key(session, "company", company.company_id, name="first")
            return StoredAnswer(
                CREATED, {**company_view(company), "api_key_prefix": prefix_of(secret)}
            )

        stored, _ = once.do(session, create)
    return _created(stored, f"/companies/{body.company_id}", secret)


def prefix_of(key: str) -> str:
    return key.split("_")[1]


@api.get("", summary="List companies", responses=documented((200, shapes.Companies)))
def list_companies(query: Page) -> Response:
    """An operator sees all companies, sorted by id; a company sees itself."""
    own = company_or_all(None)
    with session_for(own) as session:
        rows = service.list_companies(session, limit=query.limit + 1, after=query.after or "")
        shown, next_after = page_of(rows, query.limit, "company_id")
        found = [company_view(row) for row in shown]
    return jsonify({"companies": found, "next_after": next_after})


@api.get(
    "/<company_id>", summary="Look at a company", responses=documented((200, shapes.CompanyView))
)
def get_company(path: shapes.CompanyPath) -> Response:
    company_id = company_of(path.company_id)
    with session_for(company_id) as session:
        return jsonify(company_view(service.get_company(session, company_id)))


@api.post(
    "/<company_id>/api-keys",
    summary="Issue an API key",
    responses=documented((CREATED, shapes.IssuedKey), creates=True),
)
def issue_key(path: shapes.CompanyPath, header: CreateHeaders, body: shapes.NewKey) -> Response:
    """Issues another key, which only this answer shows. To rotate: issue, switch over, revoke."""
    company_id = company_of(path.company_id)
    once = Once.of_request(header.idempotency_key, company_id)
    secret = None
    with session_for(company_id) as session:
        service.get_company(session, company_id)

        def issue() -> StoredAnswer:
            nonlocal secret
            secret = keys.issue_key(session, "company", company_id, name=body.name)
            return StoredAnswer(
                CREATED,
                {"prefix": prefix_of(secret), "name": body.name, "company_id": company_id},
            )

        stored, _ = once.do(session, issue)
    return _created(stored, f"/companies/{company_id}/api-keys", secret)


@api.get(
    "/<company_id>/api-keys", summary="List API keys", responses=documented((200, shapes.Keys))
)
def list_keys(path: shapes.CompanyPath) -> Response:
    """Shows prefixes and dates; the keys themselves are not stored."""
    company_id = company_of(path.company_id)
    with session_for(company_id) as session:
        service.get_company(session, company_id)
        rows = keys.list_keys(session, company_id)
    found = [
        {
            "prefix": row.prefix,
            "name": row.name,
            "company_id": row.company_id,
            "created_at": row.created_at.isoformat(),
            "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
        }
        for row in rows
    ]
    return jsonify({"api_keys": found})


@api.delete(
    "/<company_id>/api-keys/<prefix>",
    summary="Revoke an API key",
    responses=documented((200, shapes.KeyRevoked)),
)
def revoke_key(path: shapes.KeyPath) -> Response:
    """The key stops working everywhere within two seconds."""
    company_id = company_of(path.company_id)
    with session_for(company_id) as session:
        service.get_company(session, company_id)
        if not keys.revoke_key(session, path.prefix, company_id):
            raise NotFound(
                "api_key_not_found", f"there is no live API key {path.prefix!r}", "prefix"
            )
    key_cache.forget(path.prefix)
    return jsonify({"prefix": path.prefix, "revoked": True})
