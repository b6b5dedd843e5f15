"""Random mixes: every greedy row is `PeftModel.generate` with its adapter alone, token by token.

Rows of a mix have different adapters or none, lengths, arrivals and grammars; beside them rows are
sampled, cancelled, late or refused. Some engines hold fewer adapters, rows and tokens than a mix
wants, so that adapters are evicted and rows wait for each other.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cyrex.engine import (
    AdapterRef,
    Cancelled,
    Completion,
    DeadlineExceeded,
    EngineConfig,
    Grammar,
    Handle,
    Request,
    Sampling,
)
from cyrex.engine.loop import Engine
from tests.integration.cyrex.engine.families import (
    COMPANIES,
    END,
    FAMILIES,
    VOCABULARY,
    Family,
    write_family,
)
from tests.integration.cyrex.engine.idle import assert_idle
from tests.integration.cyrex.engine.same import Answer, is_tie

MIXES = 40
MANY_MIXES = 500
ROWS = 16
LONGEST = 40
# Mixes that draw their prompts from one set: what the reference has answered is used again.
MIXES_A_SET = 125
GRAMMARS = [
    Grammar.choices(["yes", "no", "maybe"]),
    Grammar.lark("start: /[a-f]{3,12}/"),
    Grammar.json_schema(
        {
            "type": "object",
            "properties": {"n": {"type": "integer"}, "s": {"type": "string", "maxLength": 8}},
            "required": ["n", "s"],
            "additionalProperties": False,
        }
    ),
]
ENGINES: dict[str, dict[str, Any]] = {
    "roomy": {"max_batch": 12},
    "few adapters": {"max_batch": 12, "max_adapters": 3, "prefill_chunk": 7},
    "little of all": {
        "max_batch": 5,
        "max_adapter_bytes": 40_000,
        "kv_tokens": 260,
        "prefill_chunk": 16,
        "prefix_cache_bytes": 20_000,
    },
}


@dataclass
class Tally:
    """Rows compared, and those where the reference's two best tokens were a tie."""

    rows: int = 0
    ties: int = 0


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    found = Tally()
    yield found
    assert found.ties <= 0.01 * found.rows + 1, found


@pytest.fixture(scope="module")
def family_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    written: dict[str, Family] = {}

    def find(name: str) -> Family:
        if name not in written:
            written[name] = write_family(name, tmp_path_factory.mktemp(name))
        return written[name]

    return find


@pytest.fixture(scope="module")
def engine_of(family_of: Callable[[str], Family]) -> Iterator[Callable[[str, str], Engine]]:
    started: dict[tuple[str, str], Engine] = {}

    def find(family: str, kind: str) -> Engine:
        if (family, kind) not in started:
            config = EngineConfig(str(family_of(family).base), device="cpu", **ENGINES[kind])
            started[family, kind] = Engine(config)
        return started[family, kind]

    yield find
    for engine in started.values():
        engine.close()


class Mix:
    """The rows of one seed, sent to an engine and compared."""

    def __init__(self, engine: Engine, family: Family, seed: int) -> None:
        self.engine = engine
        self.family = family
        self.chance = random.Random(seed)
        self.prompts = prompts_of(seed // MIXES_A_SET)
        self.greedy: list[tuple[Handle, Request]] = []
        self.beside: list[Handle] = []

    def run(self, tally: Tally) -> None:
        for _ in range(ROWS):
            handle = self.send()
            if self.chance.random() < 0.3:
                self.let_it_run(handle)
        for handle, request in self.greedy:
            self.compare(handle.result(60), request, tally)
        for handle in self.beside:
            assert isinstance(outcome_of(handle), Completion | Cancelled | DeadlineExceeded)
        assert_idle(self.engine)

    def send(self) -> Handle:
        chance = self.chance
        adapter = chance.choice([None, *self.family.adapters])
        company = adapter.company if adapter else f"company{chance.randrange(COMPANIES)}"
        grammar = chance.choice(GRAMMARS) if chance.random() < 0.25 else None
        prompt, length = chance.choice(self.prompts), chance.choice([1, 5, 20, LONGEST])
        kind = chance.choice(["greedy"] * 7 + ["sampled", "cancelled", "late"])
        sampling = Sampling(temperature=1.0, top_p=0.9, seed=3) if kind == "sampled" else Sampling()
        deadline = time.monotonic() + chance.uniform(0, 0.05) if kind == "late" else None
        request = Request(
            company, adapter, prompt, length, sampling, grammar=grammar, deadline=deadline
        )
        handle = self.engine.submit(request)
        if kind == "greedy":
            self.greedy.append((handle, request))
        else:
            self.beside.append(handle)
        if kind == "cancelled":
            self.let_it_run(handle)
            handle.cancel()
        return handle

    def let_it_run(self, handle: Handle) -> None:
        """So that the next request meets a batch in the middle of its work."""
        how = self.chance.randrange(3)
        if how == 0:
            outcome_of(handle)
        elif how == 1:
            self.engine.ping().result(60)
        else:
            time.sleep(self.chance.uniform(0, 0.01))

    def compare(self, completion: Completion, request: Request, tally: Tally) -> None:
        prompt = list(request.prompt)
        wanted = self.family.reference(request.adapter, prompt, LONGEST, request.grammar)
        expected = wanted.tokens[: request.max_new_tokens]
        got = completion.tokens
        if request.grammar is not None and expected[-1] == END and got == expected[:-1]:
            # A grammar that lets nothing follow ends the answer without an end-of-turn token.
            expected = got
        tally.rows += 1
        if is_tie(got, Answer(expected, wanted.leads)):
            tally.ties += 1
            return
        ended = request.grammar is not None or expected[-1] == END
        assert completion.finish_reason == "length" or ended
        assert (completion.adapter_id, completion.sha256) == name_of(request.adapter)
        assert completion.prompt_tokens == len(request.prompt)
        assert completion.completion_tokens == len(got) == len(completion.logprobs)


def name_of(adapter: AdapterRef | None) -> tuple[str | None, str | None]:
    return (adapter.adapter_id, adapter.sha256) if adapter else (None, None)


def outcome_of(handle: Handle) -> object:
    with contextlib.suppress(Cancelled, DeadlineExceeded):
        handle.result(60)
    return handle.outcome()


def prompts_of(number: int) -> list[list[int]]:
    """Prompts of several lengths; some begin alike, as those of one company do."""
    chance = random.Random(f"prompts {number}")
    system = [chance.randrange(4, VOCABULARY) for _ in range(50)]
    lengths = [1, 3, 17, 60]
    fresh = [[chance.randrange(4, VOCABULARY) for _ in range(length)] for length in lengths]
    return fresh + [system + fresh[1], system + fresh[2]]


def run(
    seed: int,
    family_of: Callable[[str], Family],
    engine_of: Callable[[str, str], Engine],
    tally: Tally,
) -> None:
    name = list(FAMILIES)[seed % len(FAMILIES)]
    kind = list(ENGINES)[seed // len(FAMILIES) % len(ENGINES)]
    Mix(engine_of(name, kind), family_of(name), seed).run(tally)


@pytest.mark.parametrize("seed", range(MIXES))
def test_a_mix_answers_as_each_adapter_alone(
    seed: int,
    family_of: Callable[[str], Family],
    engine_of: Callable[[str, str], Engine],
    tally: Tally,
) -> None:
    run(seed, family_of, engine_of, tally)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(MIXES, MANY_MIXES, 20))
def test_many_mixes_answer_as_each_adapter_alone(
    first: int,
    family_of: Callable[[str], Family],
    engine_of: Callable[[str, str], Engine],
    tally: Tally,
) -> None:
    for seed in range(first, first + 20):
        run(seed, family_of, engine_of, tally)
