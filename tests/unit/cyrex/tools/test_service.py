"""Definitions of tools given as JSON: what is wrong is named with its place."""

from __future__ import annotations

from typing import Any

import pytest

from cyrex.errors import UserError
from cyrex.tools.service import parse_tools

TOOL = {"name": "crm", "endpoint": "https://crm.example.com/api"}

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


@pytest.mark.parametrize(("fields", "param", "message"), WRONG)
def test_a_wrong_field_is_named_with_its_index(
    fields: dict[str, Any], param: str, message: str
) -> None:
    with pytest.raises(UserError) as refused:
        parse_tools([TOOL, {**TOOL, **fields}])
    assert refused.value.param == f"tools[1].{param}"
    assert message in refused.value.message


def test_what_is_no_object_is_named() -> None:
    with pytest.raises(UserError) as refused:
        parse_tools([TOOL, "crm"])
    assert refused.value.param == "tools[1]"
