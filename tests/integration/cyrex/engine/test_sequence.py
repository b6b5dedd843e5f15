"""Prompts that cannot be answered are refused by name, and alone."""

from __future__ import annotations

import pytest

from cyrex.engine import (
    PromptTooLong,
    Request,
    RequestRefused,
)
from cyrex.engine.loop import Engine
from tests.support.engine_requests import ask
from tests.support.tiny import CONTEXT


def test_a_prompt_too_long_is_refused_by_name(engine: Engine) -> None:
    with pytest.raises(PromptTooLong, match=f"{CONTEXT} tokens"):
        ask(engine, prompt=[5] * CONTEXT)
    completion = engine.submit(Request("company0", None, [5] * (CONTEXT - 1), 50)).result(60)
    assert completion.completion_tokens == 1


def test_a_prompt_of_megabytes_is_refused_without_reading_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = engine.model.max_characters
    with pytest.raises(PromptTooLong, match="tokens"):
        ask(engine, prompt="x" * longest)

    def read(*_: object) -> list[int]:
        raise AssertionError("nobody else's request is read while this one is")

    monkeypatch.setattr(type(engine.model), "encode", read)
    with pytest.raises(PromptTooLong, match=f"{longest + 1} characters; .* {CONTEXT} tokens"):
        ask(engine, prompt="x" * (longest + 1))


@pytest.mark.parametrize("token", [-1, 260, 10**9])
def test_a_token_that_does_not_exist_is_refused(engine: Engine, token: int) -> None:
    with pytest.raises(RequestRefused, match="from 0 to 259"):
        ask(engine, prompt=[5, token])
    assert isinstance(ask(engine), str)


def test_a_prompt_that_cannot_be_read_fails_alone(engine: Engine) -> None:
    handle = engine.submit(Request("company0", None, [5, "6"]))  # type: ignore[list-item]
    with pytest.raises(RequestRefused, match="TypeError"):
        handle.result(60)
    assert isinstance(ask(engine), str)
