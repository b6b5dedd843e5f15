"""Fairness between companies: a small company's wait behind a large one, and shares of tokens."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.engine.arms import BATCH, TIMEOUT_SECONDS, Arm, prompt_of
from benchmarks.engine.models import Model
from cyrex.engine import Cancelled, Completion, Handle, Request

QUEUE = 10_000
FEW = 10
PROMPT = 16
ANSWERS = (16, 64)
# Prompts are short where tokens are counted: what they cost beside answers is the engine's choice.
SHORT_PROMPT = 4
COMPANIES = 16


@dataclass
class Ended:
    """The times at which a request was sent, got its first token and ended (seconds)."""

    company: str
    sent: float
    first: float
    done: float
    tokens: int


@dataclass
class Log:
    """All answered requests in order. The engine's thread writes it."""

    ended: list[Ended] = field(default_factory=list)
    handles: list[Handle] = field(default_factory=list)

    def send(self, arm: Arm, company: str, prompt: int, answer: int) -> Handle:
        sent = time.perf_counter()

        def note(handle: Handle) -> None:
            outcome = handle.outcome()
            if isinstance(outcome, Completion):
                first = sent + outcome.first_token_seconds
                tokens = outcome.prompt_tokens + outcome.completion_tokens
                self.ended.append(Ended(company, sent, first, time.perf_counter(), tokens))

        handle = arm.engine.submit(Request(company, None, prompt_of(prompt), answer))
        handle.add_done_callback(note)
        self.handles.append(handle)
        return handle

    def drop(self) -> None:
        """Cancel all open requests, and wait until none runs."""
        for handle in self.handles:
            handle.cancel()
        for handle in self.handles:
            outcome = _outcome(handle)
            assert isinstance(outcome, Completion | Cancelled), outcome

    def served(self, since: float, until: float) -> dict[str, float]:
        """Tokens of each company between two times; an answer's are spread evenly over its run."""
        found: dict[str, float] = defaultdict(float)
        for end in self.ended:
            overlap = min(end.done, until) - max(end.first, since)
            if overlap > 0:
                found[end.company] += end.tokens * overlap / max(end.done - end.first, 1e-9)
        return found


def measure(model: Model, is_full: bool) -> dict[str, float]:
    arm = Arm(model, max_waiting=2 * QUEUE)
    try:
        waits = [_wait(arm, seed) for seed in range(12 if is_full else 2)]
        share = statistics.median(_share(arm, seed) for seed in range(3 if is_full else 1))
        jain = statistics.median(_jain(arm, seed) for seed in range(3 if is_full else 1))
    finally:
        arm.close()
    found = {
        "fair_p95_over_bound": round(statistics.median(waits), 3),
        "fair_share": round(share, 3),
        "jain": round(jain, 3),
    }
    print(f"{model.shape.name}: {found}", flush=True)
    return found


def _wait(arm: Arm, seed: int) -> float:
    """B's 95th percentile of seconds to the first token, over the bound of a fair engine.

    A has 10,000 requests in the queue and all rows when B sends ten at once. The bound is the mean
    time that A's running rows still had to run, and one prefill.
    """
    chance = random.Random(seed)
    prefill = statistics.median(_first_token(arm) for _ in range(5))
    log = Log()
    for _ in range(QUEUE):
        log.send(arm, "A", PROMPT, chance.randint(*ANSWERS))
    _until(lambda: len(log.ended) > 4 * BATCH)
    few = [log.send(arm, "B", PROMPT, chance.randint(*ANSWERS)) for _ in range(FEW)]
    for handle in few:
        handle.result(TIMEOUT_SECONDS)
    sent = min(end.sent for end in log.ended if end.company == "B")
    # Long enough that all rows that ran when B arrived have ended.
    _until(lambda: sum(end.first > sent for end in log.ended if end.company == "A") > 4 * BATCH)
    log.drop()
    ran = [end for end in log.ended if end.company == "A" and end.first < sent < end.done]
    left = [end.done - sent for end in ran]
    waited = sorted(end.first - end.sent for end in log.ended if end.company == "B")
    p95 = statistics.quantiles(waited, n=20, method="inclusive")[-1]
    return p95 / (statistics.mean(left) + prefill)


def _share(arm: Arm, seed: int) -> float:
    """B's share of the tokens over its fair share, a half, while both have more than enough to do.

    A came first, and its answers are four times as long: sharing by rows would be unfair to B.
    """
    log, chance = Log(), random.Random(seed)
    for _ in range(QUEUE // 10):
        log.send(arm, "A", SHORT_PROMPT, 4 * chance.randint(16, 32))
    _until(lambda: len(log.ended) > BATCH)
    since = time.perf_counter()
    for _ in range(QUEUE // 10):
        log.send(arm, "B", SHORT_PROMPT, chance.randint(16, 32))
    _until(lambda: sum(end.company == "B" for end in log.ended) > 8 * BATCH)
    until = time.perf_counter()
    log.drop()
    served = log.served(since, until)
    return served["B"] / (sum(served.values()) / 2)


def _jain(arm: Arm, seed: int) -> float:
    """Jain's index of the tokens of 16 companies with requests of 16 sizes; 1 is equal shares."""
    log, chance = Log(), random.Random(seed)
    for number in range(COMPANIES):
        for _ in range(1600 // (number + 1)):
            log.send(arm, f"company{number}", SHORT_PROMPT, chance.randint(4, 12) * (number + 1))
    since = time.perf_counter()
    _until(lambda: len(log.ended) > 16 * BATCH)
    until = time.perf_counter()
    log.drop()
    served = log.served(since, until)
    shares = [served[f"company{number}"] for number in range(COMPANIES)]
    return sum(shares) ** 2 / (COMPANIES * sum(share**2 for share in shares))


def _first_token(arm: Arm) -> float:
    answer = arm.engine.submit(Request("B", None, prompt_of(PROMPT), 1)).result(TIMEOUT_SECONDS)
    return answer.first_token_seconds


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("the engine does not get on")
        time.sleep(0.01)


def _outcome(handle: Handle) -> object:
    ended = threading.Event()
    handle.add_done_callback(lambda _: ended.set())
    assert ended.wait(TIMEOUT_SECONDS)
    return handle.outcome()
