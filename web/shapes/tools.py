"""What requests and answers about tools and memory hold."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from cyrex.tools.definition import NAME, Auth, Method, RateLimit, ToolDefinition
from cyrex.tools.service import MAX_TOOLS
from web.shapes.answers import Answer
from web.shapes.requests import Body, CompanyPage, OwnCompanyId, Parameters, RowId, Text

MAX_QUERY = 1000

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


class RegisterTools(Body):
    model_config = ConfigDict(
        json_schema_extra={"example": {"company_id": "acme", "tools": [EXAMPLE]}}
    )

    company_id: OwnCompanyId = None
    tools: list[ToolDefinition] = Field(min_length=1, max_length=MAX_TOOLS)


class ReplaceTool(ToolDefinition):
    """A whole definition; `name` may be left out."""

    name: str = Field("", pattern=f"{NAME}|^$")


class ChangeTool(Body):
    """Fields to change; those left out stay, secrets too."""

    model_config = ConfigDict(json_schema_extra={"example": {"description": "Find a customer"}})

    endpoint: str | None = None
    method: Method | None = None
    headers: dict[str, str] | None = Field(None, repr=False)
    auth: Auth | None = None
    description: str | None = None
    rate_limit: RateLimit | None = None
    parameters: dict[str, Any] | None = None
    idempotent: bool | None = None


class CallTool(Body):
    model_config = ConfigDict(
        json_schema_extra={"example": {"arguments": {"email": "jo@example.com"}}}
    )

    arguments: dict[str, Any] = Field(default_factory=dict)


class ToolPath(Parameters):
    name: str = Field(pattern=NAME)


class MemoryPath(Parameters):
    memory_id: RowId


class MemoryQuery(CompanyPage):
    q: Text | None = Field(
        None,
        min_length=1,
        max_length=MAX_QUERY,
        description='Words that must be there; "a phrase", `or` and `-not` are understood.',
    )


class Tool(Answer):
    """A tool, without its secrets."""

    company_id: str
    name: str
    endpoint: str
    method: Method
    description: str
    parameters: dict[str, Any] = Field(description="JSON schema, every `$ref` written out.")
    idempotent: bool
    headers: dict[str, str] = Field(description="Those that are no secret.")
    secret_headers: list[str] = Field(description="Names of the headers kept as secrets.")
    auth: dict[str, str] | None = Field(description="Without its token or key.")
    rate_limit: RateLimit | None
    created_at: str
    updated_at: str


class Tools(Answer):
    tools: list[Tool]


class ToolsRegistered(Tools):
    company_id: str
    registered: list[str] = Field(description="Names, in the order sent.")
    message: str


class ToolDeleted(Answer):
    name: str
    deleted: bool


class ToolTested(Answer):
    """How a test call went; 200 also when the tool failed."""

    name: str
    status: str = Field(description="`completed`, `failed` or `unknown`.")
    status_code: int | None = Field(description="The tool's HTTP status; null: none came.")
    seconds: float
    content_type: str | None
    body: Any = Field(description="JSON, or text; long ones are cut off and given as text.")
    truncated: bool
    note: str | None
    error: dict[str, Any] | None


class Memory(Answer):
    memory_id: str
    company_id: str
    job_id: str | None
    kind: str
    content: str
    created_at: str


class Memories(Answer):
    memory: list[Memory]
    next_after: str | None = Field(description="Send as `after` for the next page; null: the end.")


class Forgotten(Answer):
    deleted: int
