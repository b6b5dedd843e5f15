"""The OpenAPI document, apart from the routes: its head, tags, and documented errors."""

from __future__ import annotations

from typing import Any

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.info import Info
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel

from web.shapes.common import Error

DOCS_PREFIX = "/docs"
DOCS_PAGE = f"{DOCS_PREFIX}/swagger"
SPEC_URL = "/openapi.json"

INFO = Info(
    title="Cyrex",
    version="0.1.0",
    description="A language model for every company: train a LoRA adapter on a company's data, "
    "then process its work with it.\n\n"
    'Every error has one shape, `{"error": {message, type, param, code}}`. Every answer carries '
    "`x-request-id`; send your own to find a request in the logs. POSTs that create take "
    "`Idempotency-Key`.",
)
SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `Authorization: Bearer cx_...`",
    },
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}]

AUTOMATION = Tag(
    name="automation", description="Process a company's data with jobs, tools and memory."
)
CHAT = Tag(name="chat", description="OpenAI's API: point the `openai` SDK at `/v1`.")
TRAINING = Tag(name="training", description="Train adapters and follow the trainings.")
SCHEDULES = Tag(name="schedules", description="Retrain by the clock.")
ADAPTERS = Tag(name="adapters", description="The adapters that trainings produced.")
AGENTS = Tag(name="agents", description="Prompts, tools and limits for jobs.")
COMPANIES = Tag(name="companies", description="Companies and their API keys.")
OPERATIONS = Tag(name="operations", description="The state of the platform; operators' keys only.")
HEALTH = Tag(name="health", description="For probes and load balancers; no API key needed.")

# swagger-ui would send the document to a public validator; the page must load local files only.
SWAGGER_CONFIG = {
    "validatorUrl": None,
    "persistAuthorization": True,
    "displayRequestDuration": True,
    "tryItOutEnabled": True,
}

_REASONS = {
    400: ("invalid_request", "The body, a field or a parameter is wrong; `param` names it."),
    401: ("invalid_api_key", "The API key is missing, unknown or revoked."),
    403: ("company_forbidden", "The key may not do this, or is another company's."),
    404: ("job_not_found", "It does not exist, or belongs to another company."),
    409: (
        "already_ended",
        "It conflicts with the present state, or with an earlier use of the Idempotency-Key.",
    ),
    413: (
        "body_too_large",
        "The body is larger than MAX_REQUEST_BYTES (a training's: MAX_BODY_BYTES).",
    ),
    415: ("unsupported_media_type", "Content-Type is not application/json."),
    429: ("too_many_open_jobs", "A limit is reached; `message` names it. See Retry-After."),
    503: (
        "database_unavailable",
        "A part of the system does not answer; nothing was changed. See Retry-After.",
    ),
    504: ("deadline_exceeded", "The answer took too long."),
}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    503: "unavailable_error",
    504: "timeout_error",
}


def _error(status: int) -> dict[str, Any]:
    code, description = _REASONS[status]
    shape = {
        "message": description,
        "type": _TYPES.get(status, "invalid_request_error"),
        "param": None,
        "code": code,
    }
    return {
        "description": description,
        "content": {
            "application/json": {
                "schema": {"$ref": f"#/components/schemas/{Error.__name__}"},
                "example": {"error": shape},
            }
        },
    }


Responses = dict[Any, type[BaseModel] | dict[Any, Any] | None]


def blueprint(name: str, import_name: str, prefix: str, tag: Tag) -> APIBlueprint:
    """A group of routes that need an API key."""
    return APIBlueprint(
        name,
        import_name,
        url_prefix=prefix,
        abp_tags=[tag],
        abp_security=SECURITY,
        abp_responses=refusals(400, 401, 403, 404, 503),
    )


def refusals(*statuses: int) -> Responses:
    """The documented errors of a route or a group of routes."""
    return {status: _error(status) for status in statuses}


def documented(
    *found: tuple[int, type[BaseModel]], creates: bool = False, limited: bool = False
) -> Responses:
    """The documented answers of one route.

    creates: the route takes a body and can refuse it or conflict; limited: it can answer 429.
    """
    statuses = ((409, 413, 415) if creates else ()) + ((429,) if limited else ())
    return {**dict(found), **refusals(*statuses)}
