"""The engine's answers are those of `PeftModel.generate` with the adapter alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from cyrex.engine import AdapterRef, Completion, EngineConfig, Request
from cyrex.engine.loop import Engine
from tests.integration.cyrex.engine.same import Answer, generate, is_tie

ROUNDS = 12
ROWS = 20


class Reference:
    """Answers one prompt with one adapter, as PEFT and transformers do."""

    def __init__(self, base: Path, adapters: list[AdapterRef]) -> None:
        self.base = AutoModelForCausalLM.from_pretrained(base).eval()
        self.models = {None: self.base}
        for ref in adapters:
            model = AutoModelForCausalLM.from_pretrained(base)
            self.models[ref.key] = PeftModel.from_pretrained(model, ref.path).eval()

    def generate(self, request: Request) -> Answer:
        prompt = list(map(int, request.prompt))
        return generate(self.models[request.key], prompt, request.max_new_tokens)


@pytest.fixture(scope="module")
def reference(base: Path, adapters: list[AdapterRef]) -> Reference:
    return Reference(base, adapters)


def random_request(chance: random.Random, adapters: list[AdapterRef]) -> Request:
    adapter = chance.choice([None, *adapters])
    company = adapter.company if adapter else chance.choice(["company0", "company1"])
    prompt = [chance.randrange(2, 260) for _ in range(chance.choice([1, 3, 20, 60]))]
    return Request(company, adapter, prompt, max_new_tokens=chance.choice([1, 5, 30, 60]))


def check(completion: Completion, request: Request, reference: Reference) -> None:
    answer = reference.generate(request)
    # Of some 6 000 tokens one or two are next to a tie; behind it the answers may part.
    if is_tie(completion.tokens, answer):
        return
    expected = answer.tokens
    assert completion.finish_reason == ("stop" if expected[-1] == 1 else "length")
    assert completion.sha256 == (request.adapter.sha256 if request.adapter else None)
    assert completion.adapter_id == (request.adapter.adapter_id if request.adapter else None)
    assert completion.prompt_tokens == len(request.prompt)
    assert completion.completion_tokens == len(expected) == len(completion.logprobs)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_random_mixes_answer_as_each_adapter_alone(
    engine: Engine, reference: Reference, adapters: list[AdapterRef], seed: int
) -> None:
    chance = random.Random(seed)
    requests = [random_request(chance, adapters) for _ in range(ROWS)]
    handles = []
    for request in requests:
        handles.append(engine.submit(request))
        if chance.random() < 0.3:  # Arrivals spread over running batches.
            handles[0].result(60) if chance.random() < 0.5 else engine.ping().result(60)
    for handle, request in zip(handles, requests, strict=True):
        check(handle.result(60), request, reference)


@pytest.fixture(scope="module")
def small_engine(base: Path) -> Iterator[Engine]:
    """So little room that adapters are evicted and rows wait for the cache all the time."""
    engine = Engine(EngineConfig(str(base), max_batch=3, max_adapters=1, kv_tokens=200))
    yield engine
    engine.close()


def test_evictions_and_a_full_cache_change_nothing(
    small_engine: Engine, reference: Reference, adapters: list[AdapterRef]
) -> None:
    chance = random.Random(99)
    requests = [random_request(chance, adapters) for _ in range(40)]
    handles = [small_engine.submit(request) for request in requests]
    for handle, request in zip(handles, requests, strict=True):
        check(handle.result(60), request, reference)
    assert len(small_engine.resident()) <= 2


def test_the_log_probabilities_are_the_models_own(
    engine: Engine, reference: Reference, adapters: list[AdapterRef]
) -> None:
    request = Request("company0", adapters[0], list(range(5, 30)), max_new_tokens=20)
    padding = Request("company0", adapters[0], list(range(5, 90)), max_new_tokens=20)
    handles = [engine.submit(padding), engine.submit(request)]
    completion = handles[1].result(60)
    whole = torch.tensor([request.prompt + completion.tokens])
    with torch.inference_mode():
        logits = reference.models[request.key](whole).logits[0, len(request.prompt) - 1 : -1]
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(completion.tokens)[:, None])
    assert completion.logprobs == pytest.approx(expected.squeeze(-1).tolist(), abs=1e-3)
    assert completion.confidence == pytest.approx(expected.exp().mean().item(), abs=1e-3)
