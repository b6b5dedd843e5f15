"""The Flask application."""

from __future__ import annotations

import re
import uuid

import structlog
from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider
from flask_openapi3.openapi import OpenAPI

from cyrex.logs import configure_logging, one_line
from database.session import DATABASE_ERRORS, keyless_session
from settings import get_settings
from web.api import (
    adapters,
    agents,
    chat,
    companies,
    datasets,
    health,
    jobs,
    memory,
    operations,
    schedules,
    tools,
    training,
)
from web.http import auth
from web.http.body import JsonRequest, give_seat_back
from web.http.errors import refuse_invalid, register_errors
from web.http.openapi import DOCS_PREFIX, INFO, SECURITY_SCHEMES, SPEC_URL, SWAGGER_CONFIG
from web.live.conversations import Conversations
from web.live.waiting import WaitingClients
from web.live.watching import Watcher
from web.shapes.common import Error

log = structlog.get_logger()

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# The share of a process's threads that waiting clients may hold.
WAITERS_SHARE = 0.75


def create_app() -> Flask:
    """The application, for gunicorn's `gthread` workers. It starts while the database is down, but
    not with a database role that would see every company's rows."""
    settings = get_settings()
    configure_logging(settings.log_level)
    app = OpenAPI(
        "web",
        info=INFO,
        security_schemes=SECURITY_SCHEMES,
        doc_prefix=DOCS_PREFIX,
        doc_url=SPEC_URL,
        validation_error_status=400,
        validation_error_model=Error,
        validation_error_callback=refuse_invalid,
        static_folder=None,
    )
    app.request_class = JsonRequest
    app.config["SWAGGER_CONFIG"] = SWAGGER_CONFIG
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    if isinstance(app.json, DefaultJSONProvider):
        app.json.sort_keys = False
        app.json.ensure_ascii = False
    app.extensions["cyrex.waiters"] = WaitingClients(
        settings.redis_url, seats=int(settings.web_threads * WAITERS_SHARE)
    )
    app.extensions["cyrex.conversations"] = Conversations()
    app.extensions["cyrex.watcher"] = Watcher()
    app.before_request(_begin)
    app.before_request(auth.identify)
    app.after_request(_end)
    app.teardown_request(give_seat_back)
    register_errors(app)
    for api in (
        jobs.api,
        training.api,
        adapters.api,
        datasets.api,
        schedules.api,
        chat.api,
        companies.api,
        agents.api,
        tools.api,
        memory.api,
        operations.api,
        health.api,
    ):
        app.register_api(api)
    _refuse_unsafe_role()
    return app


def _begin() -> None:
    sent = request.headers.get("X-Request-ID", "")
    g.request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(
        request_id=g.request_id, method=request.method, path=request.path
    )


def _end(response: Response) -> Response:
    response.headers["x-request-id"] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.blueprint not in ("openapi", "swagger"):
        response.headers["Cache-Control"] = "no-store"
    return response


def _refuse_unsafe_role() -> None:
    """Raises `UnsafeDatabaseRole` when the database answers and its role is unfit."""
    try:
        with keyless_session() as session:
            session.connection()
    except DATABASE_ERRORS as error:
        log.warning("database_unavailable", error=one_line(error))
