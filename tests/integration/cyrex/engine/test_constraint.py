"""Rows held to a grammar, beside rows that are not."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from cyrex.engine import (
    AdapterRef,
    GenerationFailed,
    Grammar,
    GrammarRefused,
    Request,
    RequestRefused,
    Sampling,
)
from cyrex.engine.loop import Engine
from cyrex.engine.scoring import ScoredExample

PROMPT = "<user>What is it?<end><assistant>"
LABELS = ["refund", "refund late", "card lost", "größe", "\x7f\t\u2028"]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "count"],
    "additionalProperties": False,
}


def request(grammar: Grammar | None = None, **fields: Any) -> Request:
    values: dict[str, Any] = {"company": "company0", "adapter": None, "prompt": PROMPT}
    return Request(**{**values, "max_new_tokens": 80, "grammar": grammar, **fields})


@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
def test_choice_is_one_of_them(engine: Engine, temperature: float) -> None:
    handles = [
        engine.submit(request(Grammar.choices(LABELS), sampling=Sampling(temperature, seed=seed)))
        for seed in range(12)
    ]
    found = {handle.result(30).text for handle in handles}
    assert found <= set(LABELS)
    assert temperature == 0 or len(found) > 1


def test_schema_is_kept(engine: Engine, adapters: list[AdapterRef]) -> None:
    asked = [
        request(Grammar.json_schema(SCHEMA), adapter=adapter, sampling=Sampling(1.0, seed=seed))
        for adapter in (None, adapters[0])
        for seed in range(6)
    ]
    for handle in [engine.submit(each) for each in asked]:
        answer = handle.result(30)
        value = json.loads(answer.text)
        assert answer.finish_reason == "stop"
        assert set(value) == {"name", "count"}
        assert len(value["name"]) <= 6
        assert 0 <= value["count"] <= 99


def test_neighbours_change_nothing(engine: Engine, adapters: list[AdapterRef]) -> None:
    """Free rows give the tokens that they give alone, and constrained ones too."""
    asked = [
        request(grammar, prompt=f"<user>{n}<end><assistant>", adapter=adapter)
        for n in range(4)
        for grammar in (None, Grammar.choices(LABELS), Grammar.json_schema(SCHEMA))
        for adapter in (None, adapters[0])
    ]
    alone = [engine.submit(each).result(30).tokens for each in asked]
    together = [handle.result(60).tokens for handle in [engine.submit(each) for each in asked]]
    assert together == alone


def test_probabilities_are_the_models_own(engine: Engine) -> None:
    answer = engine.submit(request(Grammar.choices(["zebra crossing"]))).result(30)
    prompt = engine.model.encode(PROMPT)
    (loss,) = engine.losses(None, [ScoredExample(prompt, answer.tokens)])
    assert math.isclose(-sum(answer.logprobs), loss, rel_tol=1e-3)
    assert answer.confidence < 0.5


def test_bad_grammar_fails_alone(engine: Engine) -> None:
    free = engine.submit(request())
    bad = [
        Grammar.lark("start: ("),
        Grammar.lark("start: missing"),
        Grammar.json_schema({"type": "nonsense"}),
        Grammar.json_schema({"type": "string", "pattern": "("}),
        Grammar("json_schema", "[1"),
    ]
    for grammar in bad:
        with pytest.raises(RequestRefused, match="grammar: "):
            engine.submit(request(grammar)).result(30)
    good = engine.submit(request(Grammar.choices(["yes"])))
    assert good.result(30).text == "yes"
    assert free.result(30).completion_tokens > 0


def test_a_grammar_beyond_the_limits_is_never_answered_with_the_end(engine: Engine) -> None:
    """The matcher's copies share its limits, and behind them it allows nothing but the end."""
    large = Grammar.choices(["é" * 499 + chr(0x4E00 + number) for number in range(1000)])
    for _ in range(2):
        with pytest.raises(GrammarRefused, match=r"^grammar: .*too many"):
            engine.submit(request(large)).result(60)


def test_a_grammar_that_others_have_used_up_is_compiled_anew(engine: Engine) -> None:
    constraints = engine.model.constraints
    grammar = Grammar.choices(["only one"])
    first, second = constraints.of(grammar), constraints.of(grammar)
    end = min(engine.model.end_tokens)
    for used_up, error in ((second, GenerationFailed), (first, GrammarRefused)):
        reason = used_up.accept(end)
        assert reason is not None
        assert isinstance(constraints.failed(used_up, reason), error)
    assert engine.submit(request(grammar)).result(30).text == "only one"
    assert not constraints.of(grammar).is_first


def test_a_pattern_that_does_not_compile_says_why(engine: Engine) -> None:
    for pattern, why in (("(?=a)b", "look-ahead"), ("(a", "unclosed group")):
        grammar = Grammar.json_schema({"type": "string", "pattern": pattern})
        with pytest.raises(RequestRefused, match=f"^grammar: .*{why}"):
            engine.submit(request(grammar)).result(30)


def test_limit_cuts_a_constrained_answer(engine: Engine) -> None:
    answer = engine.submit(request(Grammar.choices(["a long answer"]), max_new_tokens=4)).result(30)
    assert (answer.text, answer.finish_reason) == ("a lo", "length")


def test_control_tokens_are_written_by_number_alone(engine: Engine) -> None:
    """Text never spells a control token: a free text cannot hold one, a grammar may ask for it."""
    token = engine.model.encode("<user>")
    assert len(token) == 1
    asked = Grammar.lark(f'start: <[{token[0]}]> "x"')
    assert engine.submit(request(asked)).result(30).tokens == [*token, *engine.model.encode("x")]
    text = Grammar.lark("start: TEXT\nTEXT: /(?s:.*)/")
    free = [engine.submit(request(text, sampling=Sampling(9.0, seed=s))) for s in range(8)]
    assert not any(token[0] in handle.result(30).tokens for handle in free)
