"""A tool's definition: every wrong field is refused under its own name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cyrex.tools.definition import ToolDefinition, is_secret_header
from cyrex.tools.service import parse_tools

TOOL = {"name": "crm", "endpoint": "https://crm.example.com/api"}
OBJECT = {"type": "object"}


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
