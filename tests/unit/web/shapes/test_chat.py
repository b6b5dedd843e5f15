"""OpenAI's parameters as an inference worker gets them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cyrex.chat.model_names import Model
from settings import get_settings
from web.shapes.chat import UNSUPPORTED, CompletionRequest

MESSAGES = [{"role": "user", "content": "hello"}]


def request(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": "base", "messages": MESSAGES, **fields})


def ask(**fields: Any) -> Any:
    model = Model("base")
    return request(**fields).ask("acme", "c-1", model, MESSAGES)


@pytest.mark.parametrize("value", [None, False, [], {}, "auto", "default", "none"])
def test_an_unsupported_parameter_may_have_its_default(value: Any) -> None:
    assert request(tools=value).model_dump()["tools"] is None


def test_an_unsupported_parameter_is_refused_by_its_own_code() -> None:
    with pytest.raises(ValidationError) as refused:
        request(tools=[{"type": "function"}])
    (error,) = refused.value.errors()
    assert (error["type"], error["loc"]) == (UNSUPPORTED, ("tools",))


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"max_tokens": 3}, 3),
        ({"max_completion_tokens": 4}, 4),
        ({"max_tokens": 3, "max_completion_tokens": 4}, 4),
    ],
)
def test_the_newer_name_of_the_token_limit_wins(fields: dict[str, int], tokens: int) -> None:
    assert ask(**fields).max_tokens == tokens
    assert ask().max_tokens == get_settings().max_new_tokens


def test_one_stop_string_is_a_list_of_one() -> None:
    assert ask(stop="\n").stop == ["\n"]
    assert ask(stop=["a", "b"]).stop == ["a", "b"]
    assert ask().stop == []


def test_only_sampling_that_was_asked_for_is_sent() -> None:
    assert ask().sampling == {"temperature": 1.0}
    assert ask(temperature=0, top_k=3).sampling == {"temperature": 0, "top_k": 3}


def test_a_negative_seed_becomes_one_that_the_engine_takes() -> None:
    seeds = [ask(seed=seed).sampling["seed"] for seed in (-5, -5, 5)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert all(seed >= 0 for seed in seeds)


def test_top_logprobs_need_logprobs() -> None:
    assert "top_logprobs" not in ask(top_logprobs=2).sampling
    assert ask(logprobs=True, top_logprobs=2).sampling["top_logprobs"] == 2


def test_a_response_format_is_a_grammar() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert ask(response_format={"type": "text"}).grammar is None
    kind, source = ask(response_format=wanted).grammar
    other_kind, other = ask(response_format={"type": "json_object"}).grammar
    assert kind == other_kind
    assert '"a"' in source
    assert '"a"' not in other
