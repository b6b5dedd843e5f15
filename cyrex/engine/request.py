"""Requests and answers as plain data. Nothing here imports a model library."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cyrex.engine.errors import EngineError, RequestRefused
from cyrex.engine.grammar import Grammar

FinishReason = Literal["stop", "length"]

MAX_STOP_STRINGS = 16
MAX_TEMPERATURE = 100.0


class AdapterKey(NamedTuple):
    """What names loaded adapter weights. The same id with other bytes is another adapter."""

    company: str
    adapter_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """An adapter of one company.

    sha256: the package's identity. The caller has verified the folder `path` against it.
    path: a folder in PEFT's format (adapter_config.json, adapter_model.safetensors).
    weights_sha256: SHA-256 of adapter_model.safetensors; the engine checks it when it loads.
    """

    company: str
    adapter_id: str
    sha256: str
    path: str
    weights_sha256: str

    @property
    def key(self) -> AdapterKey:
        return AdapterKey(self.company, self.adapter_id, self.sha256)


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to complete. Raises RequestRefused naming a field that is wrong.

    adapter: None asks the base model itself.
    prompt: token ids, or rendered text (tokenised as it stands, special tokens included in it).
    temperature: 0 is greedy; top_p keeps the smallest set of tokens of at least that probability.
    seed: same seed, same answer, whatever else runs. None draws one.
    stop: strings that end the answer and are not part of its text.
    deadline: on `time.monotonic()`'s clock, which the processes of one machine share.
    grammar: what the answer must look like; None leaves the model free.
    """

    company: str
    adapter: AdapterRef | None
    prompt: list[int] | str
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    deadline: float | None = None
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        # Tenancy first: an adapter of another company is never even looked at.
        if self.adapter is not None and self.adapter.company != self.company:
            raise RequestRefused("adapter: it belongs to another company")
        if not self.company:
            raise RequestRefused("company: must not be empty")
        if not self.prompt:
            raise RequestRefused("prompt: must not be empty")
        if self.max_new_tokens < 1:
            raise RequestRefused("max_new_tokens: must be at least 1")
        if not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise RequestRefused(f"temperature: must be from 0 to {MAX_TEMPERATURE:g}")
        if not 0 < self.top_p <= 1:
            raise RequestRefused("top_p: must be above 0 and at most 1")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise RequestRefused("seed: must be from 0 to 2**63 - 1")
        if len(self.stop) > MAX_STOP_STRINGS or not all(self.stop):
            raise RequestRefused(f"stop: at most {MAX_STOP_STRINGS} strings, none of them empty")

    @property
    def key(self) -> AdapterKey | None:
        """Of the adapter asked for; None is the base model."""
        return self.adapter.key if self.adapter is not None else None

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, and the adapter that really gave it (both None: the base model).

    text: without the end-of-turn token and without the stop string.
    tokens: every token generated, the final end-of-turn token included (never empty). An answer
        that its grammar lets nothing follow ends without one.
    logprobs: natural log of the model's own probability (before grammar and temperature) of each
        token.
    """

    text: str
    tokens: list[int]
    logprobs: list[float]
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    adapter_id: str | None
    sha256: str | None

    @property
    def confidence(self) -> float:
        """Mean probability of the answer's tokens, from 0 to 1."""
        return sum(map(math.exp, self.logprobs)) / len(self.logprobs)


@dataclass(frozen=True, slots=True)
class ResidentAdapter:
    """A loaded adapter and the bytes that its weights take."""

    key: AdapterKey
    bytes: int


class Handle:
    """A request under way. Safe to use from any thread."""

    __slots__ = ("_future", "_on_cancel", "cancelled", "request")

    def __init__(self, request: Request, on_cancel: Callable[[], None] | None = None) -> None:
        self.request = request
        self.cancelled = False
        self._on_cancel = on_cancel
        self._future: Future[Completion] = Future()

    def result(self, timeout: float | None = None) -> Completion:
        """Wait for the answer. Raises an EngineError, or TimeoutError after `timeout` seconds."""
        try:
            return self._future.result(timeout)
        except FutureTimeoutError:
            raise TimeoutError(f"no answer within {timeout} s") from None

    def cancel(self) -> None:
        """Stop generating; `result` raises Cancelled unless the answer was complete already."""
        if not self.cancelled and not self.done():
            self.cancelled = True
            if self._on_cancel is not None:
                self._on_cancel()

    def done(self) -> bool:
        return self._future.done()

    def outcome(self) -> Completion | EngineError:
        """What a handle that is done holds."""
        error = self._future.exception(timeout=0)
        if isinstance(error, EngineError):
            return error
        return self._future.result(timeout=0)

    def add_done_callback(self, callback: Callable[[Handle], None]) -> None:
        """Call `callback(self)` once it is done: at once if it is, else on the engine's thread."""
        self._future.add_done_callback(lambda _: callback(self))

    def resolve(self, completion: Completion) -> None:
        """For the engine. Only the first of `resolve` and `fail` counts."""
        assert self.request.key is None or self.request.key.sha256 == completion.sha256
        if not self._future.done():
            self._future.set_result(completion)

    def fail(self, error: EngineError) -> None:
        """For the engine. Only the first of `resolve` and `fail` counts."""
        if not self._future.done():
            self._future.set_exception(error)
