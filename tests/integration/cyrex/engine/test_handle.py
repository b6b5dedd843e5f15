"""Answers piece by piece."""

from __future__ import annotations

from typing import Any

import pytest

from cyrex.engine import Cancelled, Completion, Delta, Request, Sampling
from cyrex.engine.loop import Engine
from tests.integration.cyrex.engine.same import assert_same

PROMPT = "<user>Where is my card?<assistant>"


def ask(engine: Engine, **options: Any) -> tuple[list[Delta], Completion]:
    handle = engine.submit(Request("acme", None, PROMPT, 40, stream=True, **options))
    return list(handle.deltas(30)), handle.result(0)


def check(deltas: list[Delta], completion: Completion) -> None:
    assert "".join(delta.text for delta in deltas) == completion.text
    assert [token for delta in deltas for token in delta.tokens] == completion.tokens
    assert [value for delta in deltas for value in delta.logprobs] == completion.logprobs


def test_the_pieces_are_the_answer(engine: Engine) -> None:
    for seed in range(8):
        sampling = Sampling(3.0, seed=seed)
        deltas, completion = ask(engine, sampling=sampling)
        check(deltas, completion)
        whole = engine.submit(Request("acme", None, PROMPT, 40, sampling=sampling)).result(30)
        # Its prompt comes from the prefix cache.
        assert_same(whole, completion)


def test_a_stop_string_is_in_no_piece(engine: Engine) -> None:
    whole = engine.submit(Request("acme", None, PROMPT, 40)).result(30).text
    stop = whole[5:8]
    deltas, completion = ask(engine, stop=(stop,))
    check(deltas, completion)
    assert completion.text == whole[: whole.index(stop)]


def test_who_subscribes_late_misses_nothing(engine: Engine) -> None:
    handle = engine.submit(Request("acme", None, PROMPT, 40, stream=True))
    completion = handle.result(30)
    seen: list[Delta] = []
    handle.subscribe(seen.append)
    check(seen, completion)
    check(list(handle.deltas(0)), completion)


def test_an_error_ends_the_stream(engine: Engine) -> None:
    handle = engine.submit(Request("acme", None, PROMPT, 100, stream=True))
    with pytest.raises(Cancelled):
        for _ in handle.deltas(30):
            handle.cancel()


def test_only_streams_have_pieces(engine: Engine) -> None:
    handle = engine.submit(Request("acme", None, PROMPT, 2))
    with pytest.raises(ValueError, match="stream"):
        next(handle.deltas())
