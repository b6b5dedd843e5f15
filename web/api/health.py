"""Probes: is the process alive, and can it serve?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import structlog
from flask import Response, jsonify, redirect
from flask_openapi3.blueprint import APIBlueprint
from werkzeug.wrappers import Response as AnyResponse

from cyrex.logs import one_line
from database.session import DATABASE_ERRORS, UnsafeDatabaseRole, keyless_session
from tasks.broker import queues
from tasks.broker.connection import broker_writable
from web.http.openapi import DOCS_PAGE, HEALTH, refusals
from web.shapes import health as shapes

log = structlog.get_logger()

api = APIBlueprint("health", __name__, abp_tags=[HEALTH], abp_responses=refusals(400))

OK, DOWN = "ok", "down"


@api.get("/", doc_ui=False)
def index() -> AnyResponse:
    return redirect(DOCS_PAGE)


@api.get("/healthz", summary="Is the process alive?", responses={200: shapes.Health})
def healthz() -> Response:
    """Depends on no other part of the system."""
    return jsonify({"status": OK})


@api.get(
    "/readyz",
    summary="Can it serve?",
    responses={200: shapes.Readiness, 503: shapes.Readiness},
)
def readyz(query: shapes.ReadinessQuery) -> Response:
    """Ready when Postgres answers and Redis accepts writes. Workers are reported and not required:
    requests wait in Postgres while none is alive. With `strict=true` every queue must be served
    too, which only a canary task that ran there recently proves."""
    work = _work()
    down = [
        part
        for part, works in (("database", work is not None), ("redis", broker_writable()))
        if not works
    ]
    idle = [name for name, state in (work or {}).items() if state.status not in queues.HEALTHY]
    status = "unavailable" if down else "degraded" if idle else "ready"
    found: dict[str, Any] = {
        "status": status,
        "down": down + (idle if query.strict else []),
        "database": DOWN if "database" in down else OK,
        "redis": DOWN if "redis" in down else OK,
        "workers": None if work is None else {name: s.workers for name, s in work.items()},
        "queues": None if work is None else {name: asdict(s) for name, s in work.items()},
    }
    response = jsonify(found)
    response.status_code = 503 if down or (query.strict and idle) else 200
    return response


def _work() -> dict[str, queues.QueueState] | None:
    """The state of each queue; None when the database does not answer."""
    try:
        with keyless_session() as session:
            return queues.states(session)
    except (*DATABASE_ERRORS, UnsafeDatabaseRole) as error:
        log.warning("not_ready", part="database", error=one_line(error))
        return None
