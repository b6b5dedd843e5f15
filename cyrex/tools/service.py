"""A company's tools: registered, listed, changed, offered to its agent.

`tool_config` of a row holds everything but secrets; those are encrypted beside it and leave this
module only inside a request to the tool.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cyrex.errors import NotFound, UserError
from cyrex.tenants.service import count_locked, get_company, lock_company
from cyrex.tools import sealing
from cyrex.tools.addresses import parse_url
from cyrex.tools.definition import ToolDefinition, is_secret_header
from cyrex.tools.parameters import DEFAULT_PARAMETERS
from database.base import Json, new_id
from database.models import CompanyTool
from settings import message_of

MAX_TOOLS = 100
# Fields of a definition that are no secret and are stored as they are.
PLAIN = ("name", "endpoint", "method", "description", "rate_limit", "parameters", "idempotent")


@dataclass(frozen=True)
class Tool:
    """A registered tool. `parameters` is a JSON schema of type object, with no `$ref` in it.

    `headers` are those that are no secret; `auth` is {type} or {type, header}.
    """

    tool_id: str
    company_id: str
    name: str
    endpoint: str
    method: str
    description: str
    parameters: Json
    idempotent: bool
    headers: Mapping[str, str]
    secret_headers: tuple[str, ...]
    auth: Json | None
    rate_limit: Json | None
    created_at: str
    updated_at: str
    sealed: bytes | None = field(repr=False)


def parse_tools(raw: Sequence[Any]) -> list[ToolDefinition]:
    """Check definitions given as JSON. Raises `UserError` that names `tools[3].auth.token`."""
    found: list[ToolDefinition] = []
    for index, item in enumerate(raw):
        try:
            found.append(ToolDefinition.model_validate(item))
        except ValidationError as error:
            raise _refusal(error, f"tools[{index}]") from None
    return found


def _refusal(error: ValidationError, prefix: str = "") -> UserError:
    details = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        path = prefix
        for part in item["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
        details.append({"param": path, "message": message_of(item)})
    first = details[0]
    return UserError(
        "invalid_request", f"{first['param']}: {first['message']}", first["param"], details=details
    )


def register(
    session: Session, company_id: str, definitions: Sequence[ToolDefinition]
) -> list[Tool]:
    """Insert or replace tools by name, all or none; in the order given. Raises `UserError`."""
    get_company(session, company_id)
    names = [definition.name for definition in definitions]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise UserError(
                "invalid_request",
                f"tools[{index}].name: {name!r} is given twice",
                f"tools[{index}].name",
            )
    others = count_locked(session, CompanyTool, company_id, CompanyTool.tool_name.not_in(names))
    if others + len(names) > MAX_TOOLS:
        raise UserError("too_many_tools", f"tools: a company may have {MAX_TOOLS}", "tools")
    return [_store(session, company_id, definition) for definition in definitions]


def _store(session: Session, company_id: str, definition: ToolDefinition) -> Tool:
    plain, hidden = _split(definition)
    values = {"tool_config": plain, "secrets": sealing.encrypt(company_id, hidden)}
    row = session.execute(
        insert(CompanyTool)
        .values(tool_id=new_id(), company_id=company_id, tool_name=definition.name, **values)
        .on_conflict_do_update(
            index_elements=[CompanyTool.company_id, CompanyTool.tool_name],
            set_={**values, "updated_at": func.now()},
        )
        .returning(CompanyTool)
        .execution_options(populate_existing=True)
    ).scalar_one()
    return _tool(row)


def _split(definition: ToolDefinition) -> tuple[Json, Json]:
    """The part that is stored as it is, and the part to encrypt."""
    plain = definition.model_dump(include=set(PLAIN))
    if plain.get("parameters") is not None:
        # As text: JSONB forgets the order of a schema's properties, in which a model calls.
        plain["parameters"] = json.dumps(plain["parameters"])
    headers = definition.headers
    plain["headers"] = {k: v for k, v in headers.items() if not is_secret_header(k)}
    hidden: Json = {}
    secret_headers = {k: v for k, v in headers.items() if is_secret_header(k)}
    if secret_headers:
        hidden["headers"] = secret_headers
    plain["secret_headers"] = sorted(secret_headers)
    auth = definition.auth
    plain["auth"] = None
    if auth is not None:
        plain["auth"] = auth.model_dump(include={"type", "header"}, exclude_none=True)
        secret = auth.token or auth.key
        assert secret is not None
        hidden["auth"] = secret.get_secret_value()
    return plain, hidden


def _tool(row: CompanyTool) -> Tool:
    config = row.tool_config
    return Tool(
        tool_id=row.tool_id,
        company_id=row.company_id,
        name=row.tool_name,
        endpoint=config["endpoint"],
        method=config["method"],
        description=config["description"],
        parameters=_parameters(config["parameters"]),
        idempotent=config["idempotent"],
        headers=config["headers"],
        secret_headers=tuple(config["secret_headers"]),
        auth=config["auth"],
        rate_limit=config["rate_limit"],
        created_at=row.created_at.isoformat(),
        updated_at=row.updated_at.isoformat(),
        sealed=row.secrets,
    )


def _parameters(stored: Any) -> Json:
    """Rows of before hold the object itself."""
    found: Json = json.loads(stored) if isinstance(stored, str) else stored
    return found or DEFAULT_PARAMETERS


# Read for every job: built once.
REGISTERED = (
    select(CompanyTool)
    .where(CompanyTool.company_id == bindparam("company"))
    .order_by(CompanyTool.tool_name)
)


def registered(session: Session, company_id: str) -> list[Tool]:
    """A company's tools by name."""
    return [_tool(row) for row in session.scalars(REGISTERED, {"company": company_id})]


def _not_found(name: str) -> NotFound:
    return NotFound("tool_not_found", f"there is no tool {name!r}", "name")


def get_tool(session: Session, company_id: str, name: str) -> Tool:
    """Raises `NotFound`."""
    row = session.scalar(
        select(CompanyTool).where(
            CompanyTool.company_id == company_id, CompanyTool.tool_name == name
        )
    )
    if row is None:
        raise _not_found(name)
    return _tool(row)


def replace_tool(session: Session, company_id: str, name: str, fields: Json) -> Tool:
    """Put a whole new definition in the place of `name`. Raises `UserError`, `NotFound`."""
    get_tool(session, company_id, name)
    return _store(
        session, company_id, _validated({**fields, "name": fields.get("name", name)}, name)
    )


def change_tool(session: Session, company_id: str, name: str, fields: Json) -> Tool:
    """Change the given fields and keep the others, secrets too. Raises `UserError`, `NotFound`.

    An endpoint at another origin must come with the secrets: who may change a tool must not be
    able to read its secrets by pointing it at a server of their own.
    """
    lock_company(session, company_id)
    tool = get_tool(session, company_id, name)
    hidden = sealing.decrypt(company_id, tool.sealed) if tool.sealed is not None else {}
    kept: Json = {key: getattr(tool, key) for key in PLAIN}
    kept["headers"] = {**tool.headers, **hidden.get("headers", {})}
    if tool.auth is not None:
        secret = "token" if tool.auth["type"] == "bearer" else "key"
        kept["auth"] = {**tool.auth, secret: hidden["auth"]}
    definition = _validated({**kept, **fields}, name)
    moved = parse_url(definition.endpoint).origin != parse_url(tool.endpoint).origin
    for part, has in (("auth", tool.auth), ("headers", tool.secret_headers)):
        if moved and has and part not in fields:
            raise UserError(
                "secrets_required",
                f"{part}: must be sent again when the endpoint moves to another host",
                part,
            )
    return _store(session, company_id, definition)


def _validated(fields: Json, name: str) -> ToolDefinition:
    try:
        definition = ToolDefinition.model_validate(fields)
    except ValidationError as error:
        raise _refusal(error) from None
    if definition.name != name:
        raise UserError("invalid_request", f"name: must be {name!r}, as in the address", "name")
    return definition


def delete_tool(session: Session, company_id: str, name: str) -> None:
    """Raises `NotFound`."""
    gone = session.scalar(
        delete(CompanyTool)
        .where(CompanyTool.company_id == company_id, CompanyTool.tool_name == name)
        .returning(CompanyTool.tool_id)
    )
    if gone is None:
        raise _not_found(name)


def tool_schema(tool: Tool) -> Json:
    """The tool as the model sees it, in the form of OpenAI's `tools`."""
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        },
    }


def tool_view(tool: Tool) -> Json:
    """The tool as JSON, without its secrets."""
    return {
        "company_id": tool.company_id,
        "name": tool.name,
        "endpoint": tool.endpoint,
        "method": tool.method,
        "description": tool.description,
        "parameters": tool.parameters,
        "idempotent": tool.idempotent,
        "headers": dict(tool.headers),
        "secret_headers": list(tool.secret_headers),
        "auth": tool.auth,
        "rate_limit": tool.rate_limit,
        "created_at": tool.created_at,
        "updated_at": tool.updated_at,
    }
