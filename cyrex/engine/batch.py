"""Rows that decode together with one adapter, one token a step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from cyrex.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineError,
    GenerationFailed,
    PromptTooLong,
    RequestRefused,
)
from cyrex.engine.handle import Completion, Delta, FinishReason, Handle
from cyrex.engine.kv import BatchCache, joined
from cyrex.engine.model import LanguageModel
from cyrex.engine.request import AdapterKey
from cyrex.engine.sampling import Sampler, choose

# Padded tokens of one prefill pass: large enough for full speed, small enough for the cache of a
# CPU, and short rows are not padded to the length of long ones.
PREFILL_TOKENS = 2048
# Finished rows are dropped from the buffers once fewer than this share of the rows is live.
COMPACT_BELOW = 0.75


class Row:
    """One request on its way through the engine. Raises RequestRefused or PromptTooLong."""

    __slots__ = (
        "constraint",
        "finished",
        "handle",
        "limit",
        "logprobs",
        "prompt",
        "sampler",
        "start",
        "text",
        "tokens",
    )

    def __init__(self, handle: Handle, model: LanguageModel) -> None:
        request = handle.request
        prompt = request.prompt
        self.prompt = model.encode(prompt) if isinstance(prompt, str) else list(prompt)
        if not self.prompt:
            raise RequestRefused("prompt: it has no tokens")
        # A token out of range would break the whole batch's look-up.
        if min(self.prompt) < 0 or max(self.prompt) >= model.vocabulary:
            raise RequestRefused(f"prompt: tokens must be from 0 to {model.vocabulary - 1}")
        room = model.max_context - len(self.prompt)
        if room < 1:
            raise PromptTooLong(
                f"prompt: {len(self.prompt)} tokens; the context holds {model.max_context} "
                "with the answer"
            )
        self.handle = handle
        self.limit = min(request.max_new_tokens, room)
        self.sampler = Sampler(request)
        grammar = request.grammar
        self.constraint = None if grammar is None else model.constraints.of(grammar)
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.start = 0
        self.finished = False
        wants_text = request.stream or request.stop
        self.text = model.text_stream(request.stop) if wants_text else None

    @property
    def key(self) -> AdapterKey | None:
        return self.handle.request.key

    @property
    def most_tokens(self) -> int:
        """Columns of the KV cache that the row may come to need."""
        return len(self.prompt) + self.limit

    def fail(self, error: EngineError) -> None:
        self.finished = True
        self.handle.fail(error)

    def give_up(self) -> bool:
        """End the row if it was cancelled or is late; returns whether it has ended."""
        if self.handle.cancelled:
            self.fail(Cancelled("cancelled"))
        elif self.handle.request.is_late():
            self.fail(DeadlineExceeded(f"late after {len(self.tokens)} tokens"))
        return self.finished

    def take(self, token: int, logprob: float, model: LanguageModel) -> None:
        """Add a token, and end the row if it is the last one."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if math.isnan(logprob):
            self.fail(GenerationFailed("the model's numbers are not finite"))
            return
        wrong = self.constraint.accept(token) if self.constraint is not None else None
        if wrong is not None:
            self.fail(GenerationFailed(f"grammar: {wrong}"))
            return
        if self.text is not None and token not in model.end_tokens:
            self.text.take(token)
        if token in model.end_tokens or self._is_complete():
            self._finish(model.decode(self.tokens), "stop")
        elif self.text is not None and self.text.cut is not None:
            self._finish(self.text.text[: self.text.cut], "stop")
        elif len(self.tokens) == self.limit:
            self._finish(model.decode(self.tokens), "length")
        elif not self.give_up() and self.handle.request.stream and self.text is not None:
            self.handle.push(Delta(self.text.hand_out(), [token], [logprob]))

    def _is_complete(self) -> bool:
        return self.constraint is not None and self.constraint.is_complete

    def _finish(self, text: str, reason: FinishReason) -> None:
        self.finished = True
        key = self.key
        if self.handle.request.stream and self.text is not None:
            rest = self.text.rest(text)
            self.handle.push(Delta(rest, self.tokens[-1:], self.logprobs[-1:]))
        self.handle.resolve(
            Completion(
                text=text,
                tokens=self.tokens,
                logprobs=self.logprobs,
                finish_reason=reason,
                prompt_tokens=len(self.prompt),
                completion_tokens=len(self.tokens),
                adapter_id=key.adapter_id if key else None,
                sha256=key.sha256 if key else None,
            )
        )


class Batch:
    """The running rows of one company with one adapter, and their cache.

    The caller makes the adapter `key` active before `admit` and before `step`.
    """

    def __init__(self, model: LanguageModel, key: AdapterKey | None) -> None:
        self.key = key
        self.rows: list[Row] = []
        self.steps_since_admit = 0
        self._model = model
        self._cache = BatchCache()

    @property
    def live(self) -> list[Row]:
        return [row for row in self.rows if not row.finished]

    def admit(self, rows: Sequence[Row]) -> None:
        """Read the rows' prompts, give each its first token, and let them run with the others."""
        assert all(row.key == self.key for row in rows)
        parts = [(self._cache, self.rows)] if self.live else []
        for group in _groups(rows):
            parts.append((self._prefill(group), group))
        self._join(parts)
        self.steps_since_admit = 0

    def step(self) -> None:
        """One more token for every live row."""
        if len(self.live) < COMPACT_BELOW * len(self.rows):
            self._join([(self._cache, self.rows)])
        if self.rows:
            last = torch.tensor([[row.tokens[-1]] for row in self.rows], device=self._model.device)
            logits = self._model.forward(last, self._starts, self._cache)
            self._take(self.rows, logits[:, -1])
        self.steps_since_admit += 1

    def fail(self, error: EngineError) -> None:
        """End every live row."""
        for row in self.live:
            row.fail(error)

    def _prefill(self, group: Sequence[Row]) -> BatchCache:
        width = max(len(row.prompt) for row in group)
        for row in group:
            row.start = width - len(row.prompt)
        tokens = torch.tensor([[0] * row.start + row.prompt for row in group])
        starts = torch.tensor([row.start for row in group])
        cache = BatchCache()
        device = self._model.device
        logits = self._model.forward(tokens.to(device), starts.to(device), cache)
        self._take(group, logits[:, -1])
        return cache

    def _take(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        constraints = [None if row.finished else row.constraint for row in rows]
        forbidden = self._model.constraints.forbidden(constraints, logits.device)
        tokens, logprobs = choose(logits, [row.sampler for row in rows], forbidden)
        for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
            if not row.finished:
                assert row.key == self.key
                row.take(token, logprob, self._model)

    def _join(self, parts: Sequence[tuple[BatchCache, Sequence[Row]]]) -> None:
        """Keep the live rows of all parts in one cache, without columns that no row uses."""
        device = self._model.device
        chosen = []
        for cache, rows in parts:
            live = [i for i, row in enumerate(rows) if not row.finished]
            if live:
                dropped = min(rows[i].start for i in live)
                whole = len(live) == len(rows)
                index = None if whole else torch.tensor(live, device=device)
                chosen.append((cache, index, dropped))
        kept = [(cache.length, row) for cache, rows in parts for row in rows if not row.finished]
        if len(chosen) == 1 and chosen[0][1] is None and chosen[0][2] == 0:
            self._cache = chosen[0][0]
        else:
            self._cache = joined(chosen) if chosen else BatchCache()
        for length, row in kept:
            row.start += self._cache.length - length
        self.rows = [row for _, row in kept]
        self._starts = torch.tensor([row.start for row in self.rows], device=device)


def _groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows of like length together, each group within PREFILL_TOKENS when padded."""
    group: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.prompt)):
        if group and (len(group) + 1) * len(row.prompt) > PREFILL_TOKENS:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
