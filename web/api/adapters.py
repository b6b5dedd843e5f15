"""`/company-automation/adapters`: the adapters that trainings produced."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, jsonify
from sqlalchemy.orm import Session

from cyrex.adapters import decisions as history
from cyrex.adapters import lifecycle, service
from database.base import Json
from database.models import Decision, LoraAdapter
from web.http.auth import caller, company_of, company_or_all, require_company, session_for
from web.http.idempotency import Once, StoredAnswer
from web.http.openapi import ADAPTERS, blueprint, documented, refusals
from web.http.paging import page_of
from web.live import handover
from web.shapes import adapters as shapes
from web.shapes.common import CreateHeaders, Page

api = blueprint("adapters", __name__, "/company-automation", ADAPTERS)

OK = 200
DECIDED = documented((OK, shapes.DecidedAdapter), creates=True)


def _view(session: Session, row: LoraAdapter) -> Json:
    champions = service.champion_ids(session, row.company_id)
    pinned = service.pinned_ids(session, row.company_id)
    return service.adapter_view(row, champions, pinned)


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
        pinned = service.pinned_ids(session, company_id)
        found = [service.adapter_view(row, champions, pinned) for row in shown]
    return jsonify({"adapters": found, "next_after": next_after})


@api.get(
    "/adapters/<adapter_id>",
    summary="Look at an adapter",
    responses=documented((200, shapes.ResidentAdapterView)),
)
def get_adapter(path: shapes.AdapterPath) -> Response:
    with session_for(None) as session:
        row = service.get_adapter(session, path.adapter_id)
        resident = service.resident_on(session, row.company_id, row.adapter_id)
        return jsonify({**_view(session, row), "resident": resident})


def _company_of(adapter_id: str) -> str:
    """The company of an adapter that the caller may see. Raises `NotFound`."""
    with session_for(None) as session:
        return service.get_adapter(session, adapter_id).company_id


def _decide(
    company_id: str,
    key: str | None,
    act: Callable[[Session, str], Decision],
    warms: bool = False,
) -> Response:
    """Do what a person has decided, once. act: is given the session and the key's prefix.

    warms: the adapter is to be in memory when it is next asked.
    """
    once = Once.of_request(key, company_id)

    def work() -> StoredAnswer:
        decision = act(session, caller().prefix)
        adapter = session.get_one(LoraAdapter, decision.adapter_id)
        view = {**_view(session, adapter), "decision": history.decision_view(decision)}
        return StoredAnswer(OK, view)

    with session_for(company_id) as session:
        stored, replayed = once.do(session, work)
    if not replayed:
        handover.decided(company_id, str(stored.answer["adapter_id"]) if warms else None)
    return stored.response(replayed)


@api.post("/adapters/<adapter_id>/promote", summary="Promote an adapter", responses=DECIDED)
def promote_adapter(header: CreateHeaders, path: shapes.AdapterPath) -> Response:
    """Makes it the champion whatever the gate said. It must be ready or rejected, and fit the base
    model that is served; 409 too while the champion is pinned."""
    return _decide(
        _company_of(path.adapter_id),
        header.idempotency_key,
        lambda session, by: lifecycle.promote(session, path.adapter_id, by),
        warms=True,
    )


@api.post("/adapters/<adapter_id>/rollback", summary="Roll back to an adapter", responses=DECIDED)
def rollback_adapter(header: CreateHeaders, path: shapes.AdapterPath) -> Response:
    """Makes it the champion again. It must be one of the last three champions before this one; 409
    names those."""
    company_id = _company_of(path.adapter_id)
    return _decide(
        company_id,
        header.idempotency_key,
        lambda session, by: lifecycle.rollback(session, company_id, path.adapter_id, by),
        warms=True,
    )


@api.post(
    "/adapters/rollback", summary="Roll back to the champion before this one", responses=DECIDED
)
def rollback(header: CreateHeaders, body: shapes.Rollback) -> Response:
    """Asked twice, it goes back two champions."""
    company_id = company_of(body.company_id)
    return _decide(
        company_id,
        header.idempotency_key,
        lambda session, by: lifecycle.rollback(session, company_id, None, by),
        warms=True,
    )


@api.post("/adapters/<adapter_id>/pin", summary="Pin the champion", responses=DECIDED)
def pin_adapter(header: CreateHeaders, path: shapes.AdapterPath) -> Response:
    """Nothing replaces it until it is unpinned. 409 unless it is the champion."""
    return _decide(
        _company_of(path.adapter_id),
        header.idempotency_key,
        lambda session, by: lifecycle.pin(session, path.adapter_id, by),
    )


@api.post("/adapters/<adapter_id>/unpin", summary="Unpin the champion", responses=DECIDED)
def unpin_adapter(header: CreateHeaders, path: shapes.AdapterPath) -> Response:
    """A candidate with evidence may replace it again."""
    return _decide(
        _company_of(path.adapter_id),
        header.idempotency_key,
        lambda session, by: lifecycle.unpin(session, path.adapter_id, by),
    )


@api.post("/adapters/<adapter_id>/retire", summary="Retire an adapter", responses=DECIDED)
def retire_adapter(
    header: CreateHeaders, path: shapes.AdapterPath, body: shapes.Retire
) -> Response:
    """Within a second it answers nothing any more; answers under way end with an error. Its bytes
    stay. 409 for the champion, unless `force` lets the base model answer instead."""
    return _decide(
        _company_of(path.adapter_id),
        header.idempotency_key,
        lambda session, by: lifecycle.retire(session, path.adapter_id, body.force, by),
    )


@api.delete(
    "/adapters/<adapter_id>",
    summary="Delete an adapter",
    responses={**documented((OK, shapes.AdapterDeleted)), **refusals(409)},
)
def delete_adapter(path: shapes.AdapterPath, query: shapes.Force) -> Response:
    """As retired, and its bytes, evaluation and configuration are deleted. 409 for the champion
    unless `force`, and while it is being evaluated or a training goes on from it."""
    company_id = _company_of(path.adapter_id)
    with session_for(company_id) as session:
        decision = lifecycle.delete(session, path.adapter_id, query.force, caller().prefix)
        view = history.decision_view(decision)
    handover.decided(company_id, None)
    return jsonify({"adapter_id": path.adapter_id, "deleted": True, "decision": view})


@api.get(
    "/adapters/<adapter_id>/decisions",
    summary="List the decisions about an adapter",
    responses=documented((OK, shapes.Decisions)),
)
def list_adapter_decisions(path: shapes.AdapterPath, query: Page) -> Response:
    """Newest first: the gate's with their figures, and people's."""
    with session_for(None) as session:
        service.get_adapter(session, path.adapter_id, deleted=True)
        return _decisions(session, None, path.adapter_id, query)


@api.get(
    "/decisions",
    summary="List decisions about adapters, newest first",
    responses=documented((OK, shapes.Decisions)),
)
def list_decisions(query: shapes.DecisionQuery) -> Response:
    company_id = company_or_all(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        return _decisions(session, company_id, query.adapter_id, query)


def _decisions(
    session: Session, company_id: str | None, adapter_id: str | None, page: Page
) -> Response:
    rows = history.list_decisions(session, company_id, adapter_id, page.limit + 1, page.after)
    shown, next_after = page_of(rows, page.limit, "decision_id")
    found = [history.decision_view(row) for row in shown]
    return jsonify({"decisions": found, "next_after": next_after})
