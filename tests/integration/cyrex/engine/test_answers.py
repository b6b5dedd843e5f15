"""Text in, text out: stop strings, sampling, and other kinds of base model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cyrex.engine import AdapterRef, Completion, EngineConfig, Request, Sampling
from cyrex.engine.loop import Engine
from tests.integration.cyrex.engine.same import assert_same, generate, is_tie
from tests.support.tiny import write_base

# Made of the end-of-turn token's neighbours, so that the model rambles on for a while.
PROMPT = "<user>Where is my card?<assistant>"


def ask(engine: Engine, tokens: int = 40, **options: Any) -> Completion:
    return engine.submit(Request("company0", None, PROMPT, tokens, **options)).result(60)


def test_text_is_read_as_it_stands(engine: Engine) -> None:
    tokens = engine.model.encode(PROMPT)
    assert (tokens[0], tokens[-1]) == (2, 3)
    assert len(tokens) == 2 + len("Where is my card?")
    by_tokens = engine.submit(Request("company0", None, tokens, 40)).result(60)
    assert_same(ask(engine), by_tokens)


def test_the_end_of_turn_token_is_not_part_of_the_text(engine: Engine) -> None:
    assert engine.model.decode([*engine.model.encode("a<user>é"), 1]) == "a<user>é"
    assert engine.model.decode([1]) == ""


def test_a_stop_string_ends_the_answer_and_is_cut_off(engine: Engine) -> None:
    whole = ask(engine)
    stop = whole.text[5:7]
    stopped = ask(engine, stop=("never in there", stop))
    assert stopped.finish_reason == "stop"
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.tokens == whole.tokens[: len(stopped.tokens)]
    assert len(stopped.tokens) < len(whole.tokens)


def test_a_token_that_is_named_as_an_end_ends_the_answer(engine: Engine, base: Path) -> None:
    whole = ask(engine)
    end = whole.tokens[6]
    ended = Engine(EngineConfig(str(base), end_tokens=(end,)))
    answer = ask(ended)
    ended.close()
    assert answer.finish_reason == "stop"
    assert answer.tokens == whole.tokens[: whole.tokens.index(end) + 1]


def test_a_seed_gives_the_same_answer_in_any_company(
    engine: Engine, adapters: list[AdapterRef]
) -> None:
    sampling = Sampling(0.9, top_p=0.95, seed=3)
    alone = ask(engine, sampling=sampling)
    crowd = [engine.submit(Request("company0", None, [5, i], 30)) for i in range(5, 40)]
    assert ask(engine, sampling=sampling).tokens == alone.tokens
    for handle in crowd:
        handle.result(60)
    assert ask(engine, sampling=Sampling(0.9, seed=4)).tokens != alone.tokens
    assert all(value <= 0 for value in alone.logprobs)


def test_a_sliding_window_slides(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", sliding_window=8)
    engine = Engine(EngineConfig(str(base)))
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    prompts = [list(range(5, 5 + length)) for length in (3, 9, 30)]
    handles = [engine.submit(Request("c", None, prompt, 20)) for prompt in prompts]
    for prompt, handle in zip(prompts, handles, strict=True):
        assert not is_tie(handle.result(60).tokens, generate(model, prompt, 20))
    engine.close()


@pytest.mark.parametrize("dtype", ["bf16", "nf4"])
def test_other_precisions_answer(
    base: Path, make_adapter: Callable[..., AdapterRef], tmp_path: Path, dtype: Any
) -> None:
    engine = Engine(EngineConfig(str(base), dtype=dtype))
    ref = make_adapter(tmp_path / "a", "acme", "a", seed=51)
    plain = engine.submit(Request("acme", None, PROMPT, 20)).result(60)
    adapted = engine.submit(Request("acme", ref, PROMPT, 20)).result(60)
    assert plain.tokens != adapted.tokens
    assert adapted.sha256 == ref.sha256
    engine.close()


def test_threads_change_no_answer(engine: Engine, base: Path, adapters: list[AdapterRef]) -> None:
    asked = [
        Request(ref.company, ref, list(range(5, 5 + length)), 20)
        for ref in adapters
        for length in (3, 40)
    ]
    alone = [handle.result(60).tokens for handle in [engine.submit(each) for each in asked]]
    several = Engine(EngineConfig(str(base), threads=2))
    handles = [several.submit(each) for each in asked]
    assert [handle.result(60).tokens for handle in handles] == alone
    several.close()
    torch.set_num_threads(1)
