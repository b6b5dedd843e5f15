from __future__ import annotations

from typing import Any

import pytest

from cyrex.errors import UserError
from cyrex.tools.calls import call_view, check_call, reply_of
from cyrex.tools.service import Tool
from database.models import ToolCall


def call(**values: Any) -> ToolCall:
    given: dict[str, Any] = {"call_id": "c1", "tool_name": "crm", "arguments": {"a": 1}}
    return ToolCall(**given, status="completed", **values)


def tool(**parameters: Any) -> Tool:
    return Tool(
        tool_id="t1",
        company_id="acme",
        name="crm",
        endpoint="https://crm.acme.com",
        method="POST",
        description="",
        parameters={"type": "object", **parameters},
        idempotent=False,
        headers={},
        secret_headers=(),
        auth=None,
        rate_limit=None,
        created_at="",
        updated_at="",
        sealed=None,
    )


@pytest.mark.parametrize(
    ("values", "reply"),
    [
        ({"result": {"body": {"status": "shipped"}}}, '{"status":"shipped"}'),
        ({"result": {"body": "as text"}}, "as text"),
        ({"result": {"body": None, "note": "not shown"}}, "not shown"),
        ({"result": None}, ""),
        ({"error": {"code": "x", "message": "it is away"}}, '{"error":"it is away"}'),
    ],
)
def test_the_model_sees_the_answer_or_the_error(values: dict[str, Any], reply: str) -> None:
    assert reply_of(call(**values)) == reply


def test_a_call_is_shown_with_its_result() -> None:
    view = call_view(call(result={"status_code": 200, "body": "ok", "seconds": 0.5}))
    assert (view["tool"], view["status_code"], view["result"], view["seconds"]) == (
        *("crm", 200, "ok", 0.5),
    )
    assert (view["note"], view["error"]) == (None, None)


def test_an_argument_that_does_not_fit_is_named() -> None:
    wanted = tool(properties={"id": {"type": "string"}}, required=["id"])
    check_call(wanted, {"id": "84213"})
    with pytest.raises(UserError) as refused:
        check_call(wanted, {"id": 84213})
    assert (refused.value.code, refused.value.param) == ("invalid_arguments", "arguments.id")
    with pytest.raises(UserError) as refused:
        check_call(wanted, {})
    assert refused.value.param == "arguments"
