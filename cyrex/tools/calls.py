"""Calls of a job: created by the agent's step, and shown to the model and to people."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyrex.errors import UserError
from cyrex.tools.parameters import ArgumentsRefused, check_arguments
from cyrex.tools.service import Tool, get_tool
from database.base import Json
from database.models import Job, ToolCall
from database.transitions import TOOL_CALL
from helox.render import content_of


def create_call(session: Session, job: Job, tool_name: str, arguments: Json) -> ToolCall:
    """Insert a queued call; the caller calls `admit_rows` (machine TOOL_CALL).

    Raises `UserError` when there is no such tool or the arguments do not fit its schema.
    """
    tool = get_tool(session, job.company_id, tool_name)
    check_call(tool, arguments)
    row = ToolCall(
        company_id=job.company_id,
        job_id=job.job_id,
        tool_name=tool_name,
        arguments=arguments,
        status="queued",
        step=TOOL_CALL.steps[0],
    )
    session.add(row)
    session.flush()
    return row


def check_call(tool: Tool, arguments: Json) -> None:
    """Raises `UserError` that names the argument."""
    try:
        check_arguments(tool.parameters, arguments)
    except ArgumentsRefused as error:
        path = f"arguments.{error.path}" if error.path else "arguments"
        raise UserError("invalid_arguments", f"{path}: {error}", path) from None


def calls_of(session: Session, job_id: str) -> list[ToolCall]:
    """A job's calls in the order in which they were made."""
    query = select(ToolCall).where(ToolCall.job_id == job_id).order_by(ToolCall.call_id)
    return list(session.scalars(query))


def call_view(row: ToolCall) -> Json:
    """A call as JSON, as a job shows it in `tool_results`."""
    result = row.result or {}
    return {
        "call_id": row.call_id,
        "tool": row.tool_name,
        "arguments": row.arguments,
        "status": row.status,
        "status_code": result.get("status_code"),
        "result": result.get("body"),
        "note": result.get("note"),
        "seconds": result.get("seconds"),
        "error": row.error,
    }


def reply_of(row: ToolCall) -> str:
    """An ended call as the model sees it: the tool's JSON or text, or the error."""
    if row.error is not None:
        return content_of({"error": row.error["message"]})
    result = row.result or {}
    body = result.get("body")
    return str(result.get("note", "")) if body is None else content_of(body)
