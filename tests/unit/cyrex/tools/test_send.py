"""The request of a call, the pauses between its tries, and its secrets in an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cyrex.tools.client import ToolFailed
from cyrex.tools.send import FIRST_PAUSE_SECONDS, REDACTED, _pause, _redacted, request_of
from cyrex.tools.service import Tool

TOOL = Tool(
    tool_id="t-1",
    company_id="acme",
    name="crm",
    endpoint="https://crm.example/find",
    method="POST",
    description="",
    parameters={"type": "object"},
    idempotent=False,
    headers={"X-Place": "here"},
    secret_headers=(),
    auth=None,
    rate_limit=None,
    created_at="",
    updated_at="",
    sealed=None,
)


def test_arguments_are_the_body_or_the_query() -> None:
    arguments = {"email": "jö@x", "limit": 3, "deep": {"a": [1]}}
    posted = request_of(TOOL, arguments, "call-1")
    assert (posted.url, posted.body) == (
        TOOL.endpoint,
        '{"email": "jö@x", "limit": 3, "deep": {"a": [1]}}'.encode(),
    )
    assert posted.headers == {"X-Place": "here"}
    query = "email=j%C3%B6%40x&limit=3&deep=%7B%22a%22%3A+%5B1%5D%7D"
    asked = request_of(replace(TOOL, method="GET"), arguments, "call-1")
    assert (asked.url, asked.body) == (f"{TOOL.endpoint}?{query}", None)
    more = replace(TOOL, method="DELETE", endpoint=f"{TOOL.endpoint}?v=2")
    assert request_of(more, arguments, "call-1").url == f"{TOOL.endpoint}?v=2&{query}"
    assert request_of(more, {}, "call-1").url == f"{TOOL.endpoint}?v=2"


@pytest.mark.parametrize(("idempotent", "key"), [(True, "call-1"), (False, None)])
def test_only_an_idempotent_tool_is_sent_a_key(idempotent: bool, key: str | None) -> None:
    request = request_of(replace(TOOL, idempotent=idempotent), {}, "call-1")
    assert request.idempotency_key == key


def test_pauses_double_and_no_two_are_alike() -> None:
    failed = ToolFailed("timed_out", "no answer", sent=True)
    for attempt in (1, 2, 3):
        usual = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
        pauses = {_pause(failed, attempt) for _ in range(50)}
        assert len(pauses) > 40
        assert all(p is not None and usual / 2 <= p <= usual * 1.5 for p in pauses)


@pytest.mark.parametrize("code", ["address_refused", "response_too_large", "too_many_redirects"])
def test_what_another_try_would_not_change_has_no_pause(code: str) -> None:
    assert _pause(ToolFailed(code, "no"), 1) is None


def test_secrets_are_taken_out_of_names_and_values() -> None:
    told: Any = {"said": ["token s3cr3t-s3cr3t!"], "s3cr3t-s3cr3t": 1, "n": 2}
    assert _redacted(told, ["s3cr3t-s3cr3t"]) == {
        "said": [f"token {REDACTED}!"],
        REDACTED: 1,
        "n": 2,
    }
