"""What shares the batch changes nothing: not the dice, not broken numbers, not a full engine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from cyrex.engine import (
    AdapterRef,
    EngineConfig,
    GenerationFailed,
    Grammar,
    GrammarRefused,
    Request,
    Sampling,
)
from cyrex.engine.loop import Engine
from tests.integration.cyrex.engine.idle import assert_idle
from tests.support.tiny import ref_of

MAX_BATCH = 6


@pytest.fixture(scope="module")
def engine(base: Path) -> Iterator[Engine]:
    engine = Engine(EngineConfig(str(base), device="cpu", max_batch=MAX_BATCH, prefill_chunk=32))
    yield engine
    engine.close()


def random_sampling(chance: random.Random) -> Sampling:
    return Sampling(
        temperature=chance.choice([0.3, 1.0, 1.7]),
        top_k=chance.choice([0, 5, 40]),
        top_p=chance.choice([1.0, 0.9]),
        min_p=chance.choice([0.0, 0.05]),
        repetition_penalty=chance.choice([1.0, 1.2]),
        presence_penalty=chance.choice([0.0, 0.5]),
        frequency_penalty=chance.choice([0.0, 0.2]),
        seed=chance.randrange(1000),
        top_logprobs=chance.choice([0, 3]),
    )


def test_a_seed_holds_whatever_shares_the_batch(engine: Engine, adapters: list[AdapterRef]) -> None:
    chance = random.Random(1)
    requests = []
    for _ in range(40):
        ref = chance.choice([None, *adapters])
        prompt = [chance.randrange(4, 260) for _ in range(chance.choice([2, 20, 70]))]
        company = ref.company if ref else "company0"
        sampling = random_sampling(chance) if chance.random() < 0.8 else Sampling()
        requests.append(Request(company, ref, prompt, chance.choice([3, 12, 25]), sampling))
    alone = [engine.submit(request).result(60).tokens for request in requests]
    for seed in range(2):
        order = list(range(len(requests)))
        random.Random(seed).shuffle(order)
        handles = {i: engine.submit(requests[i]) for i in order}
        assert [handles[i].result(60).tokens for i in range(len(requests))] == alone
    assert_idle(engine)


def test_other_seeds_give_other_answers(engine: Engine) -> None:
    prompt = list(range(30, 50))
    found = {
        tuple(
            engine.submit(Request("c", None, prompt, 12, Sampling(2.0, seed=s))).result(60).tokens
        )
        for s in range(8)
    }
    assert len(found) > 4


def test_broken_numbers_of_a_row_never_reach_who_has_its_place_next(
    engine: Engine,
    adapters: list[AdapterRef],
    make_adapter: Callable[..., AdapterRef],
    tmp_path: Path,
) -> None:
    """Zero times NaN is NaN: what is masked out must not be read at all."""
    folder = Path(make_adapter(tmp_path / "huge", "huge", "huge", seed=61).path)
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor * 1e30 for name, tensor in load_file(weights).items()}, weights)
    huge = ref_of(folder, "huge", "huge")
    good = [
        Request(ref.company, ref, [40 + i, 8, 9], 30)
        for i, ref in enumerate(adapters)
        for _ in "ab"
    ]
    expected = [engine.submit(request).result(60).tokens for request in good]
    for _ in range(3):
        bad = [
            engine.submit(Request("huge", huge, [50 + i] * 60, 40)) for i in range(2 * MAX_BATCH)
        ]
        handles = [engine.submit(request) for request in good]
        assert [handle.result(60).tokens for handle in handles] == expected
        for handle in bad:
            with pytest.raises(GenerationFailed, match="not finite"):
                handle.result(60)
    assert [engine.submit(request).result(60).tokens for request in good] == expected
    assert_idle(engine)


def test_a_grammar_that_does_not_compile_fails_its_request_alone(
    engine: Engine, adapters: list[AdapterRef]
) -> None:
    ref = adapters[0]
    expected = engine.submit(Request(ref.company, ref, [40, 8, 9], 30)).result(60).tokens
    handles = []
    for _ in range(4):
        bad = Request("c", None, [5, 6], 5, grammar=Grammar.lark("start: nothing_of_this_name"))
        handles.append(
            (engine.submit(bad), engine.submit(Request(ref.company, ref, [40, 8, 9], 30)))
        )
    for broken, fine in handles:
        with pytest.raises(GrammarRefused):
            broken.result(60)
        assert fine.result(60).tokens == expected
    assert_idle(engine)


@pytest.mark.parametrize("seed", range(6))
def test_an_engine_that_is_short_of_everything_answers_everybody(
    base: Path, adapters: list[AdapterRef], seed: int
) -> None:
    """Rows, tokens and adapters' places are all scarce, so that everybody waits for somebody: it
    must never be in a circle."""
    chance = random.Random(seed)
    engine = Engine(
        EngineConfig(
            str(base),
            device="cpu",
            max_batch=chance.choice([1, 2, 5]),
            max_adapters=chance.choice([1, 2]),
            kv_tokens=chance.choice([40, 160, 300]),
            prefill_chunk=chance.choice([1, 8, 64]),
            prefix_cache_bytes=chance.choice([0, 10_000]),
        )
    )
    handles = []
    for i in range(60):
        ref = chance.choice([None, *adapters])
        company = ref.company if ref else f"company{i % 3}"
        prompt = [chance.randrange(4, 260) for _ in range(chance.choice([1, 10, 100]))]
        handles.append(engine.submit(Request(company, ref, prompt, chance.choice([1, 9, 50]))))
    for handle in handles:
        assert handle.result(60).tokens
    assert_idle(engine)
    engine.close()
