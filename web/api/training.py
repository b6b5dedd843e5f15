"""`/company-automation/train-adapter`, the trainings asked for, and the adapters they make."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Response, jsonify

from cyrex.adapters import service as adapter_service
from cyrex.errors import Unavailable
from cyrex.logs import one_line
from cyrex.tenants.quotas import require_place
from cyrex.training import checkpoints as checkpoint_service
from cyrex.training import service
from cyrex.training.check import check_request
from database.base import Json
from database.transitions import TRAINING as TRAINING_STATES
from web.http.auth import company_of, company_or_all, require_company, session_for
from web.http.idempotency import Once, Stored
from web.http.openapi import ADAPTERS, TRAINING, blueprint
from web.http.openapi import answers as answered
from web.http.paging import page_of
from web.live.handover import hand_over, require_broker, wake_relay
from web.shapes import answers
from web.shapes import requests as schemas

log = structlog.get_logger()

api = blueprint("training", __name__, "/company-automation", TRAINING)
adapters_api = blueprint("adapters", __name__, "/company-automation", ADAPTERS)

ACCEPTED = 202


def links_of(request_id: str) -> Json:
    here = f"/company-automation/training/{request_id}"
    parts = ("events", "checkpoints", "cancel")
    return {"self": here, **{part: f"{here}/{part}" for part in parts}}


def training_answer(session: Any, run: Any) -> Json:
    return {**service.training_view(session, run), "links": links_of(run.request_id)}


def _accepted(stored: Stored, replayed: bool) -> Response:
    return stored.response(replayed, stored.answer["links"]["self"])


@api.post(
    "/train-adapter",
    summary="Request adapter training",
    responses=answered((ACCEPTED, answers.TrainingRequested), creates=True, limited=True),
)
def train_adapter(header: schemas.CreateHeaders, body: schemas.TrainAdapter) -> Response:
    """Checks every example and setting, stores them and answers 202; follow `links.self`."""
    company_id = company_of(body.company_id)
    once = Once.of_request(header.idempotency_key, company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        stored = once.seen(session)
        if stored is not None:
            return _accepted(stored, replayed=True)
        require_place(session, TRAINING_STATES, company_id)
    check_request(body.training_data, body.config, body.base_model)
    require_broker()
    data = _stored(body)
    with session_for(company_id) as session:
        stored, replayed = once.do(
            session, lambda: Stored(ACCEPTED, _request(session, company_id, body, data))
        )
    if not replayed:
        wake_relay()
    return _accepted(stored, replayed)


def _stored(body: schemas.TrainAdapter) -> service.StoredLines:
    try:
        return service.store(body.training_data)
    except OSError as error:
        log.error("storage_unavailable", error=one_line(error))
        raise Unavailable(
            "storage_unavailable",
            "the blob store does not take the data; nothing was changed, try again",
        ) from error


def _request(
    session: Any, company_id: str, body: schemas.TrainAdapter, data: service.StoredLines
) -> Json:
    run = service.request_training(
        session, company_id, data, body.config, body.use_qlora, body.seed
    )
    return {
        "request_id": run.request_id,
        "status": run.status,
        "message": f"training on {len(body.training_data)} examples requested",
        "company_id": company_id,
        "links": links_of(run.request_id),
    }


@api.get(
    "/training",
    summary="List trainings, newest first",
    responses=answered((200, answers.Trainings)),
)
def list_trainings(query: schemas.TrainingQuery) -> Response:
    company_id = company_or_all(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        rows = service.list_trainings(
            session, limit=query.limit + 1, after=query.after, status=query.status
        )
        shown, next_after = page_of(rows, query.limit, "request_id")
        found = [training_answer(session, run) for run in shown]
    return jsonify({"training": found, "next_after": next_after})


@api.get(
    "/training/<request_id>",
    summary="Look at a training",
    responses=answered((200, answers.Training)),
)
def get_training(path: schemas.TrainingPath) -> Response:
    """Its state, step, progress, metrics, position in the queue and error."""
    with session_for(None) as session:
        run = service.get_training(session, path.request_id)
        return jsonify(training_answer(session, run))


@api.get(
    "/training/<request_id>/events",
    summary="What happened in a training",
    responses=answered((200, answers.TrainingEvents)),
)
def list_events(path: schemas.TrainingPath, query: schemas.EventQuery) -> Response:
    """Oldest first; send `next_after` as `after` to follow a training."""
    with session_for(None) as session:
        events = service.training_events(
            session, path.request_id, after=query.after, limit=query.limit
        )
    found = [
        {
            "id": event.id,
            "type": event.type,
            "level": event.level,
            "message": event.message,
            "data": event.data,
            "created_at": event.created_at.isoformat(),
        }
        for event in events
    ]
    last = events[-1].id if events else query.after
    return jsonify({"request_id": path.request_id, "events": found, "next_after": last})


@api.get(
    "/training/<request_id>/checkpoints",
    summary="What a training can go on from",
    responses=answered((200, answers.Checkpoints)),
)
def list_checkpoints(path: schemas.TrainingPath) -> Response:
    """Newest first. The last few are kept, and for some days after the training has ended."""
    with session_for(None) as session:
        rows = checkpoint_service.list_checkpoints(session, path.request_id)
        found = [checkpoint_service.checkpoint_view(row) for row in rows]
    return jsonify({"request_id": path.request_id, "checkpoints": found})


@api.post(
    "/training/<request_id>/cancel",
    summary="Cancel a training",
    responses={**answered((200, answers.Training)), 409: answered(creates=True)[409]},
)
def cancel_training(path: schemas.TrainingPath) -> Response:
    """At once if no worker has it, else its worker ends it after the step that it is at; what it
    has learnt so far is kept as a checkpoint. 409 once it has ended."""
    with session_for(None) as session:
        run = service.cancel_training(session, path.request_id)
        view = training_answer(session, run)
    if view["status"] in TRAINING_STATES.terminal:
        hand_over("training", view["company_id"])
    return jsonify(view)


@adapters_api.get(
    "/adapters",
    summary="List adapters, newest first",
    responses=answered((200, answers.Adapters)),
)
def list_adapters(query: schemas.AdapterQuery) -> Response:
    company_id = company_or_all(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        rows = adapter_service.list_adapters(
            session, company_id, status=query.status, limit=query.limit + 1, after=query.after
        )
        shown, next_after = page_of(rows, query.limit, "adapter_id")
        champions = adapter_service.champion_ids(session, company_id)
        found = [adapter_service.adapter_view(row, champions) for row in shown]
    return jsonify({"adapters": found, "next_after": next_after})


@adapters_api.get(
    "/adapters/<adapter_id>",
    summary="Look at an adapter",
    responses=answered((200, answers.ResidentAdapter)),
)
def get_adapter(path: schemas.AdapterPath) -> Response:
    with session_for(None) as session:
        row = adapter_service.get_adapter(session, path.adapter_id)
        champions = adapter_service.champion_ids(session, row.company_id)
        resident = adapter_service.resident_on(session, row.company_id, row.adapter_id)
        return jsonify({**adapter_service.adapter_view(row, champions), "resident": resident})
