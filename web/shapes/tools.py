"""Requests and answers about tools."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from cyrex.tools.definition import NAME, Auth, Method, RateLimit, ToolDefinition
from cyrex.tools.service import MAX_TOOLS
from web.shapes.common import AnswerBody, OwnCompanyId, Parameters, RequestBody

EXAMPLE: JsonDict = {
    "name": "crm_lookup",
    "endpoint": "https://crm.acme.com/api/lookup",
    "method": "POST",
    "auth": {"type": "bearer", "token": "..."},
    "description": "Lookup customer in CRM",
    "rate_limit": {"requests": 10, "window": 60},
    "parameters": {
        "type": "object",
        "properties": {"email": {"type": "string"}},
        "required": ["email"],
        "additionalProperties": False,
    },
}


class RegisterTools(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={"example": {"company_id": "acme", "tools": [EXAMPLE]}}
    )

    company_id: OwnCompanyId = None
    tools: list[ToolDefinition] = Field(min_length=1, max_length=MAX_TOOLS)


class ReplaceTool(ToolDefinition):
    """A complete definition; `name` may be left out."""

    name: str = Field("", pattern=f"{NAME}|^$")


class ChangeTool(RequestBody):
    """The fields to change; fields that are left out stay, secrets too."""

    model_config = ConfigDict(json_schema_extra={"example": {"description": "Find a customer"}})

    endpoint: str | None = None
    method: Method | None = None
    headers: dict[str, str] | None = Field(None, repr=False)
    auth: Auth | None = None
    description: str | None = None
    rate_limit: RateLimit | None = None
    parameters: dict[str, Any] | None = None
    idempotent: bool | None = None


class ToolTrial(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={"example": {"arguments": {"email": "jo@example.com"}}}
    )

    arguments: dict[str, Any] = Field(default_factory=dict)


class ToolPath(Parameters):
    name: str = Field(pattern=NAME)


class ToolView(AnswerBody):
    """A tool, without its secrets."""

    company_id: str
    name: str
    endpoint: str
    method: Method
    description: str
    parameters: dict[str, Any] = Field(description="A JSON schema with every `$ref` resolved.")
    idempotent: bool
    headers: dict[str, str] = Field(description="Headers that are not secret.")
    secret_headers: list[str] = Field(description="Names of the secret headers.")
    auth: dict[str, str] | None = Field(description="The authentication, without its token or key.")
    rate_limit: RateLimit | None
    created_at: str
    updated_at: str


class Tools(AnswerBody):
    tools: list[ToolView]


class ToolsRegistered(Tools):
    company_id: str
    registered: list[str] = Field(description="Names of the tools, in the order sent.")
    message: str


class ToolDeleted(AnswerBody):
    name: str
    deleted: bool


class ToolTested(AnswerBody):
    """The outcome of a test call. The status is 200 even when the tool failed."""

    name: str
    status: str = Field(description="`completed`, `failed` or `unknown`.")
    status_code: int | None = Field(description="The tool's HTTP status; null: it did not answer.")
    seconds: float
    content_type: str | None
    body: Any = Field(description="JSON or text; a long body is cut off and given as text.")
    truncated: bool
    note: str | None
    error: dict[str, Any] | None
