"""`/operations`: the state of the system, and dead letters. Operators' keys only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import redis
import structlog
from flask import Response, jsonify

from cyrex.recovery import dead_letters as service
from cyrex.recovery import overview
from database.base import Json
from database.session import operator_session
from synapse.state import state_of
from synapse.streams import CHANNELS
from tasks.broker import dispatch, queues, routing
from tasks.broker.connection import broker
from web.http.auth import caller, require_operator
from web.http.idempotency import REPLAYED_HEADER
from web.http.openapi import OPERATIONS, blueprint, documented, refusals
from web.http.paging import page_of
from web.live.handover import hand_over, wake_relay
from web.shapes import operations as shapes

log = structlog.get_logger()

api = blueprint("operations", __name__, "/operations", OPERATIONS)
api.before_request(require_operator)


@api.get(
    "/overview",
    summary="Overview of the system (operator)",
    responses=documented((200, shapes.Overview)),
)
def get_overview() -> Response:
    """Queues, streams, workers and their leases, the outbox, dead letters, rows by state.

    While Redis does not answer, the values that only Redis knows are null.
    """
    with operator_session() as session:
        work = queues.states(session)
        found: Json = {
            "workers": overview.workers(session),
            "leases": overview.leases(session),
            "outbox": overview.outbox_backlog(session),
            "dead_letters": overview.open_dead_letters(session),
            "rows": overview.rows_by_state(session),
        }
        # All inference workers read the common queue, and each reads a direct queue of its own.
        own = [routing.direct_name(row.node) for row in routing.inference_nodes(session)]
    common = work[routing.COMMON_QUEUE]
    work |= {name: replace(common, workers=1, canary_seconds=None) for name in own}
    backlog, streams = _broker(own)
    found["queues"] = [_queue(name, state, backlog.get(name)) for name, state in work.items()]
    return jsonify({**found, "streams": streams, "at": datetime.now(UTC).isoformat()})


def _queue(name: str, state: queues.QueueState, backlog: queues.Backlog | None) -> Json:
    return {
        "name": name,
        "depth": backlog.depth if backlog else None,
        "oldest_seconds": backlog.oldest_seconds if backlog else None,
        "workers": state.workers,
        "canary_seconds": state.canary_seconds,
        "status": state.status,
    }


def _broker(more: list[str]) -> tuple[dict[str, queues.Backlog], list[Json]]:
    """Backlogs and streams from Redis; no numbers while it does not answer."""
    try:
        return queues.backlog(broker(), more), state_of(broker())
    except redis.RedisError as error:
        log.warning("broker_unavailable", error=str(error))
        return {}, [{"name": name, "length": None, "groups": []} for name in CHANNELS]


@api.get(
    "/dead-letters",
    summary="List dead letters, newest first (operator)",
    responses=documented((200, shapes.DeadLetters)),
)
def list_dead_letters(query: shapes.DeadLetterQuery) -> Response:
    """Rows that failed too often, and events that were refused, invalid or failed too often."""
    with operator_session() as session:
        rows = service.list_dead_letters(
            session,
            limit=query.limit + 1,
            after=query.after,
            kind=query.kind,
            company_id=query.company_id,
            replayed=query.replayed,
        )
    shown, next_after = page_of(rows, query.limit, "id")
    found = [service.dead_letter_view(row) for row in shown]
    return jsonify({"dead_letters": found, "next_after": next_after})


@api.get(
    "/dead-letters/<id>",
    summary="Look at a dead letter (operator)",
    responses=documented((200, shapes.DeadLetterView)),
)
def get_dead_letter(path: shapes.DeadLetterPath) -> Response:
    with operator_session() as session:
        return jsonify(service.dead_letter_view(service.get_dead_letter(session, path.id)))


@api.post(
    "/dead-letters/<id>/replay",
    summary="Replay a dead letter (operator)",
    responses={**documented((200, shapes.DeadLetterView)), **refusals(409)},
)
def replay_dead_letter(path: shapes.DeadLetterPath) -> Response:
    """A row continues from the step that failed; an event is published on its stream again. A
    second replay of a letter answers the same and does nothing. 409, with the reason, for a letter
    that cannot be replayed."""
    with operator_session() as session:
        done = service.replay(session, path.id, caller().prefix)
        view = service.dead_letter_view(done.letter)
    if done.fresh:
        wake_relay()
        dispatch.publish_all(done.hints)
        if done.admit is not None:
            hand_over(*done.admit)
    response = jsonify(view)
    if not done.fresh:
        response.headers[REPLAYED_HEADER] = "true"
    return response
