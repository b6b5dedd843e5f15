"""One arm of an evaluation: the base model or an adapter answers every held-out question."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyrex.adapters.metrics import Metric, score_calls, score_text
from cyrex.engine import AdapterRef, AdapterRefused, Completion, EngineError, Request
from helox.calls import CallFormat

if TYPE_CHECKING:
    from cyrex.engine.loop import Engine

COMPANY = "evaluation"
# An answer that runs on is wrong long before `max_new_tokens`: it may be this many tokens longer
# than the expected one, or twice as long (the same text can be spelled in other tokens).
SPARE_TOKENS = 8
# What a free text scores whose loss cannot be told: nats a token, worse than any guess.
HOPELESS_NATS = 100.0

# (tool, arguments)
Call = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out example as tokens: the prompt, and the answer that is expected."""

    prompt: list[int]
    answer: list[int]
    sha256: str
    line: int
    asked: str  # the last message before the answer
    calls: tuple[Call, ...] = ()  # of tools, by the expected answer


@dataclass(frozen=True)
class Arm:
    """What one candidate said: texts (None: no whole answer), and nats of the expected answers."""

    texts: list[str | None]
    nats: list[float | None]  # None: prompt and answer are beyond the model's context
    seconds: float
    general_loss: float | None

    def scores(
        self,
        metric: Metric,
        questions: Sequence[Question],
        expected: Sequence[str],
        calls: CallFormat | None,
    ) -> list[float]:
        """A number for each question, the higher the better."""
        if metric == "loss":
            return [
                -HOPELESS_NATS if n is None or not math.isfinite(n) else -n / len(q.answer)
                for n, q in zip(self.nats, questions, strict=True)
            ]
        if metric == "tool_call":
            return [
                score_calls(q.calls, _called(text, calls))
                for q, text in zip(questions, self.texts, strict=True)
            ]
        return [
            score_text(metric, wanted, text)
            for wanted, text in zip(expected, self.texts, strict=True)
        ]

    def report(
        self, scores: Sequence[float], expected: Sequence[str], questions: Sequence[Question]
    ) -> dict[str, Any]:
        """The arm's part of evaluation.json."""
        right = [
            t is not None and t.strip() == e.strip()
            for t, e in zip(self.texts, expected, strict=True)
        ]
        known = [
            (n, len(q.answer)) for n, q in zip(self.nats, questions, strict=True) if n is not None
        ]
        tokens = sum(count for _, count in known)
        loss = sum(nats for nats, _ in known) / tokens if tokens else None
        return {
            "score": sum(scores) / len(scores) if scores else None,
            "scores": [round(score, 6) for score in scores],
            "exact_match": sum(right) / len(right) if right else None,
            "mean_loss": loss if loss is None or math.isfinite(loss) else None,
            "general_loss": self.general_loss,
            "answer_tokens": tokens,
            "too_long": len(self.nats) - len(known),
            "seconds": round(self.seconds, 3),
        }


def run_arm(
    engine: Engine, adapter: AdapterRef | None, questions: Sequence[Question], max_new_tokens: int
) -> Arm:
    """Ask everything, greedily. Raises `AdapterRefused`."""
    from cyrex.engine.scoring import ScoredExample

    started = time.monotonic()
    handles = [
        engine.submit(Request(COMPANY, adapter, q.prompt, _limit(q, max_new_tokens)))
        for q in questions
    ]
    texts: list[str | None] = []
    for handle in handles:
        try:
            texts.append(_text_of(handle.result()))
        except AdapterRefused:
            raise
        except EngineError:
            texts.append(None)  # A prompt that serving would refuse is not answered.
    fits = [len(q.prompt) + len(q.answer) <= engine.model.max_context for q in questions]
    examples = [
        ScoredExample(q.prompt, q.answer) for q, fit in zip(questions, fits, strict=True) if fit
    ]
    found = iter(engine.losses(adapter, examples))
    nats = [next(found) if fit else None for fit in fits]
    return Arm(texts, nats, time.monotonic() - started, _general_loss(engine, adapter))


def _text_of(completion: Completion) -> str | None:
    """None for an answer that the model did not end by itself."""
    return completion.text if completion.finish_reason == "stop" else None


def _limit(question: Question, max_new_tokens: int) -> int:
    expected = len(question.answer)
    return min(max_new_tokens, max(2 * expected, expected + SPARE_TOKENS))


def _called(text: str | None, calls: CallFormat | None) -> list[Call] | None:
    found = calls.read(text) if calls is not None and text is not None else None
    return None if found is None else [found]


def _general_loss(engine: Engine, adapter: AdapterRef | None) -> float | None:
    """Nats a token of plain sentences that have nothing to do with any company."""
    from cyrex.engine.scoring import ScoredExample

    encoded = [engine.model.encode(sentence) for sentence in general_sentences()]
    examples = [ScoredExample(ids[:1], ids[1:]) for ids in encoded if len(ids) > 1]
    tokens = sum(len(example.answer) for example in examples)
    loss = sum(engine.losses(adapter, examples)) / tokens if tokens else math.nan
    return round(loss, 6) if math.isfinite(loss) else None


@cache
def general_sentences() -> tuple[str, ...]:
    return tuple(Path(__file__).with_name("general_text.txt").read_text().splitlines())
