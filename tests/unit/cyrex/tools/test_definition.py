"""A tool's definition: every wrong field is refused under its own name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cyrex.tools.definition import ToolDefinition, is_secret_header
from cyrex.tools.service import parse_tools

TOOL = {"name": "crm", "endpoint": "https://crm.example.com/api"}
OBJECT = {"type": "object"}

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "a b"}, "name", "should match pattern"),
    ({"name": ""}, "name", "should match pattern"),
    ({"endpoint": "http://crm.example.com"}, "endpoint", "must begin with https://"),
    ({"endpoint": "https://10.0.0.1/"}, "endpoint", "not a public address"),
    ({"method": "TRACE"}, "method", "Input should be"),
    ({"headers": {"Host": "x"}}, "headers", "'Host' is written by the client itself"),
    ({"headers": {"Proxy-Authorization": "x"}}, "headers", "written by the client itself"),
    ({"headers": {"a b": "x"}}, "headers", "is no header name"),
    ({"headers": {"X-A": "b\r\nX-B: c"}}, "headers", "visible ASCII"),
    ({"headers": {"X-A": "ä"}}, "headers", "visible ASCII"),
    ({"headers": {"X-A": "1", "x-a": "2"}}, "headers", "given twice"),
    ({"headers": {"X-A": 1}}, "headers.X-A", "valid string"),
    ({"headers": {f"X-{n}": "1" for n in range(33)}}, "headers", "at most 32"),
    ({"auth": {"type": "basic"}}, "auth.type", "'bearer' or 'api_key'"),
    ({"auth": {"type": "bearer"}}, "auth.token", "is required for type 'bearer'"),
    ({"auth": {"type": "bearer", "token": ""}}, "auth.token", "visible ASCII"),
    ({"auth": {"type": "bearer", "token": "a\nb"}}, "auth.token", "visible ASCII"),
    ({"auth": {"type": "bearer", "token": "t", "key": "k"}}, "auth.key", "does not belong"),
    ({"auth": {"type": "api_key", "key": "k"}}, "auth.header", "is required"),
    ({"auth": {"type": "api_key", "header": "X-Key"}}, "auth.key", "is required"),
    ({"auth": {"type": "api_key", "header": "Host", "key": "k"}}, "auth.header", "'Host'"),
    (
        {"auth": {"type": "bearer", "token": "t"}, "headers": {"authorization": "x"}},
        "auth",
        "among the headers too",
    ),
    ({"description": "d" * 1001}, "description", "at most 1000"),
    ({"rate_limit": {"requests": 0, "window": 1}}, "rate_limit.requests", "greater than"),
    ({"rate_limit": {"requests": 1, "window": 0}}, "rate_limit.window", "greater than"),
    ({"rate_limit": {"requests": 1}}, "rate_limit.window", "required"),
    ({"idempotent": "yes"}, "idempotent", "valid boolean"),
    ({"parameters": []}, "parameters", "valid dictionary"),
    ({"parameters": {"type": "array"}}, "parameters", 'must be a JSON schema of "type": "object"'),
    ({"timeout": 3}, "timeout", "not permitted"),
]


def test_a_secret_is_in_no_text_about_the_tool() -> None:
    fields = {**TOOL, "auth": {"type": "bearer", "token": "t0p"}, "headers": {"X-Token": "t0p"}}
    assert "t0p" not in repr(ToolDefinition.model_validate(fields))
    with pytest.raises(ValidationError) as refused:
        ToolDefinition.model_validate({**fields, "method": "t0", "auth": {"token": "t0p\n"}})
    assert "t0p" not in str(refused.value)


def test_the_guides_tool_is_taken_as_it_is() -> None:
    (tool,) = parse_tools(
        [
            {
                "name": "crm_lookup",
                "endpoint": "https://crm.acme.com/api/lookup",
                "method": "POST",
                "auth": {"type": "bearer", "token": "..."},
                "description": "Lookup customer in CRM",
            },
        ]
    )
    assert tool.auth is not None
    assert tool.auth.sent == ("Authorization", "Bearer ...")


def test_headers_that_look_like_secrets() -> None:
    secret = ["Authorization", "X-Api-Key", "Cookie", "x-auth-token", "X-Session", "X-Signature"]
    assert all(map(is_secret_header, secret))
    assert not any(map(is_secret_header, ["Accept", "Content-Type", "X-Tenant", "User-Agent"]))


# ---- parameters ----------------------------------------------------------------------------
