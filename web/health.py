"""Probes: whether the process lives, and whether it can serve."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Response, jsonify, redirect
from flask_openapi3.blueprint import APIBlueprint
from sqlalchemy import func, select
from werkzeug.wrappers import Response as AnyResponse

from database.claims import HEARTBEAT_EXPIRY_SECONDS
from database.models import Worker
from database.session import UnsafeDatabaseRole, keyless_session
from tasks import app as celery_app
from tasks.dispatch import broker_ready
from web import answers
from web.errors import DATABASE_ERRORS
from web.openapi import DOCS_PAGE, HEALTH

log = structlog.get_logger()

api = APIBlueprint("health", __name__, abp_tags=[HEALTH])

OK, DOWN = "ok", "down"


@api.get("/", doc_ui=False)
def index() -> AnyResponse:
    return redirect(DOCS_PAGE)


@api.get("/healthz", summary="Is the process alive?", responses={200: answers.Health})
def healthz() -> Response:
    """Asks nothing of any other part."""
    return jsonify({"status": OK})


@api.get(
    "/readyz",
    summary="Can it serve?",
    responses={200: answers.Readiness, 503: answers.Readiness},
)
def readyz() -> Response:
    """Ready when Postgres and Redis answer. Workers are reported and not required: what is asked
    for while none lives waits in Postgres."""
    workers = _live_workers()
    down = [
        part
        for part, works in (("database", workers is not None), ("redis", broker_ready()))
        if not works
    ]
    found: dict[str, Any] = {
        "status": "unavailable" if down else "ready",
        "down": down,
        "database": DOWN if "database" in down else OK,
        "redis": DOWN if "redis" in down else OK,
        "workers": workers,
    }
    response = jsonify(found)
    response.status_code = 503 if down else 200
    return response


def _live_workers() -> dict[str, int] | None:
    """Workers of each queue with a fresh heartbeat; None when the database does not answer."""
    counts = {str(queue.name): 0 for queue in celery_app.conf.task_queues}
    fresh = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, HEARTBEAT_EXPIRY_SECONDS)
    try:
        with keyless_session() as session:
            listed = session.scalars(select(Worker.queues).where(Worker.heartbeat_at > fresh))
            for queues in listed:
                for name in queues:
                    counts[name] = counts.get(name, 0) + 1
    except (*DATABASE_ERRORS, UnsafeDatabaseRole) as error:
        log.warning("not_ready", part="database", error=str(error).splitlines()[0])
        return None
    return counts
