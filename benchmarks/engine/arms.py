"""Arms of a comparison: waves of requests through an engine, timed, one arm after the other.

A machine's speed drifts, so arms take turns; a figure is the median, over the rounds, of the ratio
of two arms in the same round.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.engine.models import CONTEXT, FIRST_PLAIN_TOKEN, VOCABULARY, Model
from cyrex.engine import AdapterRef, EngineConfig, EngineStats, Grammar, Request
from cyrex.engine.loop import Engine

BATCH = 32
TIMEOUT_SECONDS = 600

Samples = dict[str, list[float]]


class Clock:
    """Wall time, or this process's CPU time for a busy machine."""

    now: Callable[[], float] = staticmethod(time.perf_counter)

    @classmethod
    def use_cpu_time(cls) -> None:
        cls.now = staticmethod(time.process_time)


@dataclass
class Step:
    """One step: its end time, the engine's counters then, and its forward pass's seconds."""

    at: float
    stats: EngineStats
    forward: float


@dataclass
class Wave:
    """Requests sent at once, until the last is answered. Times in seconds."""

    tokens: int
    seconds: float
    steps: list[Step] = field(repr=False)

    @property
    def rate(self) -> float:
        """Answers' tokens a second, prompts included in the time."""
        return self.tokens / self.seconds

    def decode_steps(self, rows: int = BATCH) -> list[tuple[float, float]]:
        """(seconds, seconds in the forward pass) of each step that only decoded one token of
        `rows` rows. The first and the last such step are left out."""
        pairs = list(zip(self.steps, self.steps[1:], strict=False))
        full = [
            b.stats.generated_tokens - a.stats.generated_tokens == rows
            and b.stats.prompt_tokens == a.stats.prompt_tokens
            and b.stats.running == rows
            for a, b in pairs
        ]
        return [
            (pairs[i][1].at - pairs[i][0].at, pairs[i][1].forward)
            for i in range(1, len(pairs) - 1)
            if full[i - 1] and full[i] and full[i + 1]
        ]

    def decode_rate(self, rows: int = BATCH) -> float:
        """Tokens a second while a full batch decodes."""
        return rows / statistics.median(seconds for seconds, _ in self.decode_steps(rows))


class Arm:
    """An engine and the times of its steps."""

    def __init__(self, model: Model, resident: int = 0, **config: Any) -> None:
        """`resident` adapters are loaded first, and stay."""
        self.model = model
        self.steps: list[Step] = []
        self._forward = 0.0
        self._entered = 0.0
        room = max(resident, 1)
        values: dict[str, Any] = {
            "max_batch": BATCH,
            "max_context": CONTEXT,
            "max_adapters": room,
            "max_adapter_bytes": room * (model.shape.adapter_bytes + (1 << 20)),
            "device": "cpu",
            "threads": 1,
        }
        self.engine = Engine(EngineConfig(str(model.base), **(values | config)), on_step=self._mark)
        self.engine.model.module.register_forward_pre_hook(self._enter)
        self.engine.model.module.register_forward_hook(self._leave)
        self.resident = resident
        for ref in model.adapters(resident):
            self.engine.load(ref).result(TIMEOUT_SECONDS)
        # Warm up: compilation and allocation at first use must not be measured.
        self.mixed(min(resident, BATCH // 2), prompt=4, answer=3)
        assert len(self.engine.resident()) == resident

    def close(self) -> None:
        self.engine.close()

    def wave(self, requests: Sequence[Request]) -> Wave:
        self.engine.ping().result(TIMEOUT_SECONDS)
        self.steps.clear()
        started = Clock.now()
        handles = [self.engine.submit(request) for request in requests]
        answers = [handle.result(TIMEOUT_SECONDS) for handle in handles]
        seconds = Clock.now() - started
        self.engine.ping().result(TIMEOUT_SECONDS)
        for answer, request in zip(answers, requests, strict=True):
            assert answer.completion_tokens == request.max_new_tokens
        tokens = sum(answer.completion_tokens for answer in answers)
        return Wave(tokens, seconds, list(self.steps))

    def mixed(
        self, distinct: int, prompt: int, answer: int, grammar: Grammar | None = None
    ) -> Wave:
        """A full batch over `distinct` adapters, spread over the resident ones, or over none."""
        apart = self.resident // distinct if distinct else 0
        numbers = [row % distinct * apart if distinct else None for row in range(BATCH)]
        adapters = [None if n is None else self.model.adapter(n) for n in numbers]
        return self.wave([request(adapter, prompt, answer, grammar) for adapter in adapters])

    def _mark(self) -> None:
        self.steps.append(Step(Clock.now(), self.engine.stats(), self._forward))
        self._forward = 0.0

    def _enter(self, *_: Any) -> None:
        self._entered = Clock.now()

    def _leave(self, *_: Any) -> None:
        self._forward += Clock.now() - self._entered


_chance = random.Random(0)


def prompt_of(length: int) -> list[int]:
    """Random tokens, new at every call, so that no cache holds them."""
    return [_chance.randrange(FIRST_PLAIN_TOKEN, VOCABULARY) for _ in range(length)]


def request(
    adapter: AdapterRef | None,
    prompt: int,
    answer: int,
    grammar: Grammar | None = None,
    company: str = "base",
) -> Request:
    company = adapter.company if adapter is not None else company
    return Request(company, adapter, prompt_of(prompt), answer, grammar=grammar)


def alternate(arms: Mapping[str, Callable[[], float]], rounds: int) -> Samples:
    """Run every arm in every round, in rotating order."""
    samples: Samples = {name: [] for name in arms}
    names = list(arms)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            samples[name].append(arms[name]())
    for name in names:
        print(f"  {name:<28} {statistics.median(samples[name]):12.1f}", flush=True)
    return samples


def ratio(samples: Samples, arm: str, base: str) -> float:
    pairs = zip(samples[arm], samples[base], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 3)
