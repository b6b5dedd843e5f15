"""Chat completions with the real task and a real (tiny) model, and with workers that fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cyrex.engine import Request
from database.models import LoraAdapter
from database.session import operator_session
from helox.render import ChatTemplate
from tests.support import rows
from tests.support.database import idle_transactions
from tests.support.tiny import base
from tests.support.waiting import eventually
from tests.support.web import Api, Tenant, error_of
from tests.support.web_chat import MESSAGES, PATH, ask, events_of, usage_rows, whole
from tests.support.web_chat_worker import ChatWorker, chat_worker
from web.shapes import chat as shapes

__all__ = ["base"]


@pytest.fixture(scope="module", autouse=True)
def worker(app: Flask, redis_url: str, base: Path) -> Iterator[ChatWorker]:
    with chat_worker(redis_url, base) as running:
        yield running


def test_an_answer_is_the_engines_and_is_metered_once(
    acme: Tenant, worker: ChatWorker, base: Path
) -> None:
    answer = whole(acme.api)
    prompt = ChatTemplate.load(base).render(MESSAGES, add_generation_prompt=True)
    direct = worker.engine.submit(Request(acme.company_id, None, prompt, 20)).result(30)
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == direct.text
    assert choice["finish_reason"] == direct.finish_reason
    assert answer["model"] == "base"
    assert answer["usage"]["prompt_tokens"] == direct.prompt_tokens
    assert answer["usage"]["completion_tokens"] == direct.completion_tokens
    (row,) = eventually(lambda: usage_rows(acme.company_id))
    assert f"chatcmpl-{row.reference}" == answer["id"]
    assert (row.prompt_tokens, row.completion_tokens) == (
        direct.prompt_tokens,
        direct.completion_tokens,
    )


def test_a_stream_is_the_same_answer_in_pieces(acme: Tenant) -> None:
    wanted = {"temperature": 1.0, "seed": 5, "max_tokens": 120}
    expected = whole(acme.api, **wanted)
    *chunks, usage, done = events_of(
        ask(acme.api, stream=True, stream_options={"include_usage": True}, **wanted)
    )
    assert done == "[DONE]"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(texts) == expected["choices"][0]["message"]["content"]
    assert len([text for text in texts if text]) > 1
    assert chunks[-1]["choices"][0]["finish_reason"] == expected["choices"][0]["finish_reason"]
    assert usage["choices"] == []
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage["usage"][name] == expected["usage"][name]
    assert usage["usage"]["prompt_tokens_details"]["cached_tokens"] > 0, "the same prompt again"
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_what_a_client_may_set_has_its_effect(acme: Tenant) -> None:
    greedy = whole(acme.api)["choices"][0]
    seeded = [whole(acme.api, temperature=1.5, seed=n)["choices"][0]["message"] for n in (5, 5, 6)]
    assert seeded[0] == seeded[1]
    assert seeded[0] != seeded[2]
    assert whole(acme.api, max_completion_tokens=3)["usage"]["completion_tokens"] == 3
    text = greedy["message"]["content"]
    cut = whole(acme.api, stop=[text[2:4]])["choices"][0]
    assert cut["message"]["content"] == text[: text.index(text[2:4])]
    assert cut["finish_reason"] == "stop"
    sampled = {"temperature": 1.0, "seed": 5, "max_tokens": 100}
    free = whole(acme.api, **sampled)["choices"][0]["message"]["content"]
    penal = {"frequency_penalty": 2.0, "presence_penalty": 2.0}
    assert whole(acme.api, **sampled, **penal)["choices"][0]["message"]["content"] != free
    shape = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
    shape["additionalProperties"] = False
    held = whole(
        acme.api,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": shape}},
    )
    assert json.loads(held["choices"][0]["message"]["content"])["a"] in ("x", "y")


def test_logprobs_tell_each_tokens_bytes(acme: Tenant) -> None:
    (choice,) = whole(acme.api, logprobs=True, top_logprobs=3)["choices"]
    content = choice["logprobs"]["content"]
    said = b"".join(bytes(entry["bytes"]) for entry in content)
    assert said.decode(errors="replace") == choice["message"]["content"]
    for entry in content:
        assert len(entry["top_logprobs"]) == 3
        assert entry["top_logprobs"][0]["logprob"] == pytest.approx(entry["logprob"], abs=1e-3)
    chunks = events_of(ask(acme.api, stream=True, logprobs=True))[:-1]
    streamed = [
        entry["token"]
        for chunk in chunks
        if chunk["choices"][0]["logprobs"]
        for entry in chunk["choices"][0]["logprobs"]["content"]
    ]
    assert streamed == [entry["token"] for entry in content]


def calling(arguments: str) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


def test_an_empty_answer_may_stand_in_the_history(acme: Tenant) -> None:
    (choice,) = whole(acme.api, stop="a", temperature=0)["choices"]
    unsaid = {"refusal": None, "annotations": [], "tool_calls": None}
    empty = {**choice["message"], **unsaid, "content": ""}
    asked = {"role": "user", "content": "x"}
    assert whole(acme.api, messages=[asked, empty, asked])["choices"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
        ({"logit_bias": {"5": 10}}, "logit_bias", "unsupported_parameter"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"n": 2}, "n", "invalid_request"),
        ({"temperature": 3}, "temperature", "invalid_request"),
        ({"top_p": 0}, "top_p", "invalid_request"),
        ({"max_tokens": 0}, "max_tokens", "invalid_request"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_request"),
        ({"stop": [""]}, "stop[0]", "invalid_request"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_request"),
        ({"messages": []}, "messages", "invalid_request"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_request"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_request"),
        (
            {"messages": [calling('{"a": "\\ud800"}')]},
            "messages[0].tool_calls[0].function.arguments",
            "invalid_request",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", None),
        ({"unheard_of": 1}, "unheard_of", "invalid_request"),
        ({"messages": [{"role": "user", "content": "x" * 500}]}, "messages", None),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    acme: Tenant, fields: dict[str, Any], param: str, code: str | None
) -> None:
    for stream in (False, True):
        if "stream_options" in fields and stream:
            continue
        refused = error_of(ask(acme.api, stream=stream, **fields), 400, code)
        assert refused["param"] == param
    assert usage_rows(acme.company_id) == []


def test_a_grammar_that_does_not_compile_fails_its_request_alone(acme: Tenant) -> None:
    schema = {"name": "a", "schema": {"type": "nonsense"}}
    wanted = {"type": "json_schema", "json_schema": schema}
    refused = error_of(ask(acme.api, response_format=wanted), 400)
    assert refused["param"] == "response_format"
    assert whole(acme.api)["choices"]


def test_models_are_the_companys_own(acme: Tenant, globex: Tenant, operator: Api) -> None:
    sha256 = "ab" * 32
    own = rows.adapter(acme.company_id, status="ready", sha256=sha256)
    failed = rows.adapter(acme.company_id, status="failed")
    listed = acme.api.get("/v1/models").json
    shapes.ModelCards.model_validate(listed)
    assert listed is not None
    assert [card["id"] for card in listed["data"]] == ["champion", "base", own]
    assert own not in globex.api.get("/v1/models").text
    for name in ("champion", "base", own, "v1", "1"):
        assert acme.api.get(f"/v1/models/{name}").status_code == 200, name
    for name in (own, "v1", "gpt-4o", failed):
        other = globex.api if name != failed else acme.api
        error = error_of(ask(other, model=name), 404, "model_not_found")
        assert error["param"] == "model"
        assert other.get(f"/v1/models/{name}").status_code == 404
    assert error_of(ask(operator), 400)["param"] == "company_id"
    assert whole(operator, company_id=acme.company_id)["model"] == "base"


def test_an_adapter_that_cannot_be_fetched_is_no_answer_of_the_base(acme: Tenant) -> None:
    adapter_id = rows.adapter(acme.company_id, status="ready", sha256="cd" * 32)
    with operator_session() as session:
        assert session.get_one(LoraAdapter, adapter_id).sha256
    response = ask(acme.api, model=adapter_id)
    assert response.status_code in (409, 500, 503), response.text


def test_a_client_that_goes_away_cancels(acme: Tenant, worker: ChatWorker) -> None:
    """The tiny model could say 140 tokens more."""
    response = acme.api.request(
        "POST",
        PATH,
        json={"model": "base", "messages": MESSAGES, "max_tokens": 140, "seed": 1, "stream": True},
        buffered=False,
    )
    assert next(iter(response.response))
    assert idle_transactions() == 0, "nobody holds a transaction while a client reads"
    response.close()
    eventually(lambda: worker.engine.stats() and worker.engine.stats().running == 0, 5)  # type: ignore[union-attr]
    assert eventually(lambda: usage_rows(acme.company_id))[0].completion_tokens < 140


def test_seats_are_limited_and_given_back(app: Flask, acme: Tenant) -> None:
    waiters = app.extensions["cyrex.waiters"]
    seats, waiters.seats = waiters.seats, 0
    try:
        response = ask(acme.api)
        error_of(response, 429, "too_many_waiting")
        assert int(response.headers["Retry-After"]) > 0
    finally:
        waiters.seats = seats
    for fields in ({}, {"stream": True}, {"temperature": 5}, {"model": "none"}):
        ask(acme.api, **fields).close()
    assert waiters._taken == 0
