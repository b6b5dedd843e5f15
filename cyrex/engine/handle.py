"""Answers as plain data, and the handle of a submitted request."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Literal

from cyrex.engine.errors import EngineError
from cyrex.engine.request import AdapterKey, Request

FinishReason = Literal["stop", "length"]

TopLogprobs = list[list[tuple[int, float]]]


@dataclass(slots=True)
class Delta:
    """The part of an answer that one step added.

    text: whole characters only; text that is or may become a stop string is held back. So it may
        be empty, or belong to tokens of earlier steps. All texts joined are the answer's text.
    tokens, logprobs, top: as in Completion, for the new tokens.
    """

    text: str
    tokens: list[int]
    logprobs: list[float]
    top: TopLogprobs = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer.

    text: without the end-of-turn token and without the stop string.
    tokens: every generated token, the final end-of-turn token included (never empty). There is no
        end-of-turn token where the grammar allowed no further token.
    logprobs: for each token the natural log of the model's own probability (before grammar and
        temperature).
    adapter_id, sha256: the adapter that really computed it; None for the base model.
    top_logprobs: for each position the likeliest tokens and their logs, the best first; empty
        unless the request asked for them.
    cached_tokens: prompt tokens that came from the prefix cache.
    queued_seconds, first_token_seconds: from `submit` to the first computation, and to the first
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
    top_logprobs: TopLogprobs = field(default_factory=list)
    # Timing and cache hits are no part of the answer: they do not count for equality.
    cached_tokens: int = field(default=0, compare=False)
    queued_seconds: float = field(default=0.0, compare=False)
    first_token_seconds: float = field(default=0.0, compare=False)

    @property
    def confidence(self) -> float:
        """Mean probability of the answer's tokens, from 0 to 1."""
        return sum(map(math.exp, self.logprobs)) / len(self.logprobs)


@dataclass(frozen=True, slots=True)
class ResidentAdapter:
    """A loaded adapter and the bytes of memory that its weights take."""

    key: AdapterKey
    bytes: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The engine's gauges and counters at one moment.

    waiting, running: requests. slots: requests that can run at once.
    kv_tokens, kv_capacity: most KV-cache tokens that running requests may need, and the budget.
    adapters, adapter_bytes, adapter_budget: loaded adapters, their bytes, and the budget.
    prefix_bytes: bytes of the prefix cache.
    adapter_loads, adapter_evictions, prefix_hits, prefix_misses, steps, prompt_tokens,
    generated_tokens: counted since the start. A hit is a request whose prompt was partly cached.
    """

    waiting: int = 0
    running: int = 0
    slots: int = 0
    kv_tokens: int = 0
    kv_capacity: int = 0
    adapters: int = 0
    adapter_bytes: int = 0
    adapter_budget: int = 0
    adapter_loads: int = 0
    adapter_evictions: int = 0
    prefix_bytes: int = 0
    prefix_hits: int = 0
    prefix_misses: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0


class Handle:
    """A submitted request: its deltas, its result, and `cancel`. Thread-safe."""

    __slots__ = (
        "_deltas",
        "_future",
        "_lock",
        "_on_cancel",
        "_subscribers",
        "cancelled",
        "request",
    )

    def __init__(self, request: Request, on_cancel: Callable[[], None] | None = None) -> None:
        self.request = request
        self.cancelled = False
        self._on_cancel = on_cancel
        self._future: Future[Completion] = Future()
        self._lock = threading.Lock()
        self._deltas: list[Delta] = []
        self._subscribers: list[Callable[[Delta], None]] = []

    def result(self, timeout: float | None = None) -> Completion:
        """Wait for the answer. Raises an EngineError, or TimeoutError after `timeout` seconds."""
        try:
            return self._future.result(timeout)
        except FutureTimeoutError:
            raise TimeoutError(f"no answer within {timeout} s") from None

    def subscribe(self, callback: Callable[[Delta], None]) -> None:
        """Call `callback` with every delta, in order: at once with the past ones, then on the
        engine's thread, the last one before the request is done. Needs `stream`."""
        if not self.request.stream:
            raise ValueError("only a request with stream=True has deltas")
        with self._lock:
            for delta in self._deltas:
                callback(delta)
            self._subscribers.append(callback)

    def deltas(self, timeout: float | None = None) -> Iterator[Delta]:
        """All deltas from the first, as they come. Needs `stream`.

        Raises the request's EngineError, or TimeoutError after `timeout` seconds without a delta.
        """
        arrived: queue.SimpleQueue[Delta | None] = queue.SimpleQueue()
        self.subscribe(arrived.put)
        self.add_done_callback(lambda _: arrived.put(None))
        while True:
            try:
                delta = arrived.get(timeout=timeout)
            except queue.Empty:
                raise TimeoutError(f"nothing new within {timeout} s") from None
            if delta is None:
                break
            yield delta
        self._future.result(timeout=0)

    def cancel(self) -> None:
        """Stop generating; `result` raises Cancelled unless the answer was complete already."""
        if not self.cancelled and not self.done():
            self.cancelled = True
            if self._on_cancel is not None:
                self._on_cancel()

    def done(self) -> bool:
        return self._future.done()

    def outcome(self) -> Completion | EngineError:
        """The answer or the error of a handle that is done."""
        error = self._future.exception(timeout=0)
        if isinstance(error, EngineError):
            return error
        return self._future.result(timeout=0)

    def add_done_callback(self, callback: Callable[[Handle], None]) -> None:
        """Call `callback(self)` once it is done: at once if it is, else on the engine's thread."""
        self._future.add_done_callback(lambda _: callback(self))

    def push(self, delta: Delta) -> None:
        """For the engine: give a new delta to all subscribers."""
        with self._lock:
            self._deltas.append(delta)
            for callback in self._subscribers:
                callback(delta)

    def resolve(self, completion: Completion) -> None:
        """For the engine. Only the first of `resolve` and `fail` counts."""
        assert self.request.key is None or self.request.key.sha256 == completion.sha256
        if not self._future.done():
            self._future.set_result(completion)

    def fail(self, error: EngineError) -> None:
        """For the engine. Only the first of `resolve` and `fail` counts."""
        if not self._future.done():
            self._future.set_exception(error)
