"""All errors as JSON of one shape: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import psycopg2
import redis
import structlog
from flask import Flask, Response, jsonify
from kombu.exceptions import OperationalError as BrokerError
from pydantic import ValidationError
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeout,
)
from werkzeug.exceptions import HTTPException

from cyrex.errors import UserError
from cyrex.logs import one_line
from database.session import UnsafeDatabaseRole
from settings import message_of

log = structlog.get_logger()

RETRY_AFTER_SECONDS = 2
MAX_DETAILS = 20

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "unavailable_error",
    504: "timeout_error",
}
# Kinds of pydantic's findings that keep a code of their own.
FINDINGS = {"unsupported_parameter"}
CODES = {
    400: "invalid_request",
    404: "route_not_found",
    405: "method_not_allowed",
    415: "unsupported_media_type",
}


class Unauthenticated(UserError):
    status = 401


class Forbidden(UserError):
    status = 403


def error_shape(error: UserError) -> dict[str, Any]:
    """`error` as JSON; it is OpenAI's shape too."""
    shape: dict[str, Any] = {
        "message": error.message,
        "type": TYPES.get(error.status, "invalid_request_error"),
        "param": error.param,
        "code": error.code,
    }
    if error.details is not None:
        shape["details"] = error.details
    return {"error": shape}


def error_response(error: UserError) -> Response:
    """`error` as a response. 401 names the authentication scheme, 429 and 503 a time to retry."""
    response = jsonify(error_shape(error))
    response.status_code = error.status
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="cyrex"'
    if error.status in (429, 503):
        seconds = getattr(error, "retry_after_seconds", None) or RETRY_AFTER_SECONDS
        response.headers["Retry-After"] = str(math.ceil(seconds))
    return response


def path_of(location: tuple[int | str, ...]) -> str | None:
    """`("training_data", 3, "output")` as `training_data[3].output`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path or None


def refuse_invalid(error: ValidationError) -> NoReturn:
    """Turn pydantic's findings into a `UserError` that names the first field and lists them all."""
    items = error.errors(include_url=False, include_context=False, include_input=False)
    found = [{"param": path_of(item["loc"]), "message": message_of(item)} for item in items]
    first, kind = found[0], items[0]["type"]
    message = f"{first['param']}: {first['message']}" if first["param"] else str(first["message"])
    code = kind if kind in FINDINGS else "invalid_request"
    raise UserError(code, message, param=first["param"], details=found[:MAX_DETAILS]) from None


def database_unavailable() -> UserError:
    return UserError(
        "database_unavailable",
        "the database does not answer; nothing was changed, try again",
        status=503,
    )


def broker_unavailable() -> UserError:
    return UserError(
        "broker_unavailable",
        "the message broker does not answer; nothing was changed, try again",
        status=503,
    )


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    # A redirect is no error.
    if status < 400:
        return Response(error.get_response().get_data(), status, error.get_headers())
    code = CODES.get(status, error.name.lower().replace(" ", "_"))
    response = error_response(UserError(code, error.description or error.name, status=status))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _database_error(error: Exception) -> Response:
    lost = isinstance(error, (OperationalError, InterfaceError, psycopg2.Error)) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )
    if not lost:
        return _unexpected_error(error)
    log.warning("database_unavailable", error=one_line(error))
    return error_response(database_unavailable())


def _pool_exhausted(error: Exception) -> Response:
    log.warning("database_busy", error=one_line(error))
    return error_response(
        UserError("database_busy", "all database connections are in use; try again", status=503)
    )


def _unsafe_role(error: Exception) -> Response:
    log.error("database_role_refused", error=str(error))
    return error_response(database_unavailable())


def _broker_error(error: Exception) -> Response:
    log.warning("broker_unavailable", error=str(error))
    return error_response(broker_unavailable())


def _unexpected_error(error: Exception) -> Response:
    log.error("request_failed", exc_info=error)
    return error_response(
        UserError(
            "internal_error",
            "the request failed; its x-request-id finds it in the logs",
            status=500,
        )
    )


def register_errors(app: Flask) -> None:
    app.register_error_handler(UserError, error_response)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(PoolTimeout, _pool_exhausted)
    app.register_error_handler(DBAPIError, _database_error)
    app.register_error_handler(psycopg2.OperationalError, _database_error)
    app.register_error_handler(psycopg2.InterfaceError, _database_error)
    app.register_error_handler(UnsafeDatabaseRole, _unsafe_role)
    app.register_error_handler(redis.RedisError, _broker_error)
    app.register_error_handler(BrokerError, _broker_error)
    app.register_error_handler(Exception, _unexpected_error)
