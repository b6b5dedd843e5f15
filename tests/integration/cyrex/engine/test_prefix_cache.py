"""Beginnings of prompts are computed once a company and adapter, and change no answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyrex.engine import AdapterRef, Completion, EngineConfig, Request
from cyrex.engine.loop import Engine
from tests.integration.cyrex.engine.idle import assert_idle

SYSTEM = [5 + 7 * i % 250 for i in range(90)]


@pytest.fixture
def start(base: Path) -> Iterator[Callable[..., Engine]]:
    started: list[Engine] = []

    def make(**config: int) -> Engine:
        started.append(Engine(EngineConfig(str(base), device="cpu", **config)))
        return started[-1]

    yield make
    for engine in started:
        engine.close()


def ask(engine: Engine, company: str, adapter: AdapterRef | None, prompt: list[int]) -> Completion:
    return engine.submit(Request(company, adapter, prompt, 8)).result(60)


def test_a_companys_system_prompt_is_computed_once(
    start: Callable[..., Engine], adapters: list[AdapterRef]
) -> None:
    ref = adapters[0]
    engine, without = start(), start(prefix_cache_bytes=0)
    for number in range(6):
        prompt = [*SYSTEM, 10 + number, 11, 12]
        found = ask(engine, ref.company, ref, prompt)
        assert found.tokens == ask(without, ref.company, ref, prompt).tokens
        if number:
            assert found.cached_tokens >= len(SYSTEM) // 2
    assert engine.stats().prefix_hits == 5
    assert engine.stats().prefix_bytes > 0
    assert without.stats().prefix_bytes == without.stats().prefix_hits == 0
    computed = engine.stats().prompt_tokens
    assert computed < without.stats().prompt_tokens


def test_a_prompt_that_is_all_cached_still_answers(start: Callable[..., Engine]) -> None:
    engine = start()
    answers = [ask(engine, "acme", None, SYSTEM) for _ in range(3)]
    assert answers[0].tokens == answers[1].tokens == answers[2].tokens
    assert answers[1].cached_tokens < len(SYSTEM)


def test_two_companies_never_share_a_cache_line(
    start: Callable[..., Engine], adapters: list[AdapterRef]
) -> None:
    """Many companies and adapters with prompts that begin alike, all at once and in any order: who
    finds something cached has asked before, with the same adapter, what begins so."""
    engine = start(max_batch=6, prefill_chunk=32)
    chance = random.Random(4)
    pairs = [(ref.company, ref) for ref in adapters] + [(f"company{i}", None) for i in range(4)]
    expected: dict[tuple[object, ...], list[int]] = {}
    without = start(prefix_cache_bytes=0)
    prompts = [SYSTEM[:cut] + [tail, 9] for cut in (40, 80) for tail in (30, 31)]
    for company, ref in pairs:
        for prompt in prompts:
            expected[company, ref, tuple(prompt)] = ask(without, company, ref, prompt).tokens
    first: set[tuple[object, ...]] = set()
    for _ in range(150):
        company, ref = chance.choice(pairs)
        prompt = chance.choice(prompts)
        found = ask(engine, company, ref, prompt)
        assert found.tokens == expected[company, ref, tuple(prompt)]
        if (company, ref) not in first:
            assert found.cached_tokens == 0
        first.add((company, ref))
    handles = []
    for _ in range(100):
        company, ref = chance.choice(pairs)
        prompt = chance.choice(prompts)
        request = Request(company, ref, prompt, 8)
        handles.append((engine.submit(request), expected[company, ref, tuple(prompt)]))
    for handle, wanted in handles:
        assert handle.result(60).tokens == wanted
    assert_idle(engine)


def test_the_cache_keeps_its_budget(start: Callable[..., Engine]) -> None:
    budget = 60_000
    engine = start(prefix_cache_bytes=budget)
    chance = random.Random(6)
    most = 0
    for number in range(60):
        prompt = [chance.randrange(4, 260) for _ in range(chance.choice([30, 120]))]
        ask(engine, f"company{number % 5}", None, prompt)
        most = max(most, engine.stats().prefix_bytes)
    assert 0 < most <= budget
    # What was asked last is still there.
    assert ask(engine, "acme", None, SYSTEM).cached_tokens == 0
    assert ask(engine, "acme", None, SYSTEM).cached_tokens > 0


def test_a_company_cannot_flush_anothers_beginnings(start: Callable[..., Engine]) -> None:
    """At least what is asked again and again survives a neighbour's flood of new prompts."""
    engine = start(prefix_cache_bytes=200_000)
    chance = random.Random(7)
    ask(engine, "acme", None, SYSTEM)
    hits = 0
    for _ in range(40):
        ask(engine, "flood", None, [chance.randrange(4, 260) for _ in range(100)])
        hits += ask(engine, "acme", None, SYSTEM).cached_tokens > 0
    assert hits == 40
