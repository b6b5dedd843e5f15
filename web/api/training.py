"""`/company-automation/train-adapter` and the trainings that it requests."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Response, jsonify

from cyrex import datasets
from cyrex.errors import Unavailable
from cyrex.logs import one_line
from cyrex.tenants.quotas import require_place
from cyrex.training import checkpoints as checkpoint_service
from cyrex.training import service
from cyrex.training.check import VALIDATION, check_examples, counts_of
from cyrex.training.order import TrainingOrder
from database.base import Json
from database.transitions import TRAINING as TRAINING_STATES
from web.http.auth import company_of, company_or_all, require_company, session_for
from web.http.idempotency import Once, StoredAnswer
from web.http.openapi import TRAINING, blueprint, documented, refusals
from web.http.paging import page_of
from web.live.handover import hand_over, require_broker, wake_relay
from web.shapes import training as shapes
from web.shapes.common import CreateHeaders

log = structlog.get_logger()

api = blueprint("training", __name__, "/company-automation", TRAINING)

ACCEPTED = 202
SPLIT_LATER = (
    "which of them are held out is decided together with the rows from before, when it starts"
)


def links_of(request_id: str) -> Json:
    here = f"/company-automation/training/{request_id}"
    parts = ("events", "checkpoints", "cancel")
    return {"self": here, **{part: f"{here}/{part}" for part in parts}}


def training_answer(session: Any, run: Any) -> Json:
    return {**service.training_view(session, run), "links": links_of(run.request_id)}


def _accepted(stored: StoredAnswer, replayed: bool) -> Response:
    return stored.response(replayed, stored.answer["links"]["self"])


@api.post(
    "/train-adapter",
    summary="Request adapter training",
    responses=documented((ACCEPTED, shapes.TrainingAccepted), creates=True, limited=True),
)
def train_adapter(header: CreateHeaders, body: shapes.TrainAdapter) -> Response:
    """Checks every example and setting, stores them and answers 202. Follow `links.self`.

    The rows may come as a file too (JSONL, JSON, CSV, TSV, Parquet; plain or gzipped): as a form
    with `file` (and `validation_file`) and the other fields, or as the body, the other fields in
    the address.
    """
    company_id = company_of(body.company_id)
    once = Once.of_request(header.idempotency_key, company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        stored = once.seen(session)
        if stored is not None:
            return _accepted(stored, replayed=True)
        require_place(session, TRAINING_STATES, company_id)
        first = not service.has_datasets(session, company_id)
    order = TrainingOrder(
        company_id,
        body.config or {},
        body.use_qlora,
        body.seed,
        body.base_model,
        body.replace,
        body.promote,
        body.continue_from,
    )
    checked = check_examples(body.training_data)
    own = body.validation_data
    validation = [] if own is None else check_examples(own, VALIDATION).lines
    counts = counts_of(checked, order.config, first, None if own is None else len(own))
    require_broker()
    data = _stored(checked.lines, counts, validation, order.replace)
    with session_for(company_id) as session:
        stored, replayed = once.do(
            session, lambda: StoredAnswer(ACCEPTED, _request(session, order, data))
        )
    if not replayed:
        wake_relay()
    return _accepted(stored, replayed)


def _stored(
    lines: list[bytes], counts: Json, validation: list[bytes], replaces: bool
) -> datasets.StoredLines:
    try:
        return datasets.store(lines, counts, validation, replaces)
    except OSError as error:
        log.error("storage_unavailable", error=one_line(error))
        raise Unavailable(
            "storage_unavailable",
            "the blob store does not take the data; nothing was changed, try again",
        ) from error


def _request(session: Any, order: TrainingOrder, data: datasets.StoredLines) -> Json:
    run = service.request_training(session, order, data)
    counts = (data.report or {})["counts"]
    message = f"training on {data.examples} examples requested"
    if counts["held_out"] is None:
        message += f"; {SPLIT_LATER}"
    return {
        "request_id": run.request_id,
        "status": run.status,
        "message": message,
        "company_id": run.company_id,
        "counts": counts,
        "links": links_of(run.request_id),
    }


@api.get(
    "/training",
    summary="List trainings, newest first",
    responses=documented((200, shapes.Trainings)),
)
def list_trainings(query: shapes.TrainingQuery) -> Response:
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
    responses=documented((200, shapes.TrainingView)),
)
def get_training(path: shapes.TrainingPath) -> Response:
    """Its state, step, progress, metrics, position in the queue and error."""
    with session_for(None) as session:
        run = service.get_training(session, path.request_id)
        return jsonify(training_answer(session, run))


@api.get(
    "/training/<request_id>/events",
    summary="List a training's events",
    responses=documented((200, shapes.TrainingEvents)),
)
def list_events(path: shapes.TrainingPath, query: shapes.EventQuery) -> Response:
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
    summary="List a training's checkpoints",
    responses=documented((200, shapes.Checkpoints)),
)
def list_checkpoints(path: shapes.TrainingPath) -> Response:
    """Newest first. The last few are kept, until some days after the training has ended."""
    with session_for(None) as session:
        rows = checkpoint_service.list_checkpoints(session, path.request_id)
        found = [checkpoint_service.checkpoint_view(row) for row in rows]
    return jsonify({"request_id": path.request_id, "checkpoints": found})


@api.post(
    "/training/<request_id>/cancel",
    summary="Cancel a training",
    responses={**documented((200, shapes.TrainingView)), **refusals(409)},
)
def cancel_training(path: shapes.TrainingPath) -> Response:
    """A training that no worker has taken is cancelled at once; otherwise its worker stops it after
    the current step and keeps a checkpoint of what it has learnt. 409 once it has ended."""
    with session_for(None) as session:
        run = service.cancel_training(session, path.request_id)
        view = training_answer(session, run)
    if view["status"] in TRAINING_STATES.terminal:
        hand_over("training", view["company_id"])
    return jsonify(view)
