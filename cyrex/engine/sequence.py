"""A sequence: one request's tokens, state and limits inside the engine."""

from __future__ import annotations

import math
import time

from cyrex.engine.adapters import Adapter
from cyrex.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineError,
    GenerationFailed,
    PromptTooLong,
    RequestRefused,
)
from cyrex.engine.handle import Completion, Delta, FinishReason, Handle
from cyrex.engine.kv import NO_SLOT
from cyrex.engine.layout import Piece
from cyrex.engine.model import LanguageModel
from cyrex.engine.request import AdapterKey
from cyrex.engine.sampling import Choice, Sampler


class TokenSequence:
    """A request with its prompt as tokens. Raises RequestRefused or PromptTooLong.

    It waits without a slot; then prefill computes its prompt in chunks (`computed` tokens so far);
    then it decodes, one token a step.
    """

    __slots__ = (
        "adapter", "cached", "computed", "constraint", "finished", "first_token_at", "handle",
        "limit", "logprobs", "prompt", "sampler", "slot", "started_at", "submitted_at", "text",
        "tokens", "top",
    )  # fmt: skip

    def __init__(self, handle: Handle, model: LanguageModel) -> None:
        self.submitted_at = time.monotonic()
        request = handle.request
        prompt = request.prompt
        if isinstance(prompt, str) and len(prompt) > model.max_characters:
            raise PromptTooLong(
                f"prompt: {len(prompt)} characters; the context holds {model.max_context} tokens "
                "with the answer"
            )
        self.prompt = model.encode(prompt) if isinstance(prompt, str) else list(prompt)
        if not self.prompt:
            raise RequestRefused("prompt: it has no tokens")
        # A token out of range would fail the embedding look-up of the whole batch.
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
        self.sampler = Sampler(request.sampling, self.prompt)
        grammar = request.grammar
        self.constraint = None if grammar is None else model.constraints.of(grammar)
        self.text = model.text_stream(request.stop) if request.stream or request.stop else None
        self.adapter: Adapter | None = None
        self.slot = NO_SLOT
        self.computed, self.cached = 0, 0
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.top: list[list[tuple[int, float]]] = []
        self.started_at, self.first_token_at = 0.0, 0.0
        self.finished = False

    @property
    def key(self) -> AdapterKey | None:
        return self.handle.request.key

    @property
    def most_tokens(self) -> int:
        """Most tokens that the sequence may hold in the KV cache."""
        return len(self.prompt) + self.limit

    @property
    def prompt_left(self) -> int:
        """Prompt tokens that are not computed yet."""
        return len(self.prompt) - self.computed

    def last_piece(self) -> Piece:
        """Input of the next decoding step: the newest token, which is not in the KV cache yet."""
        past = len(self.prompt) + len(self.tokens) - 1
        return Piece(self.tokens[-1:], past, self.slot, self.adapter)

    def prompt_piece(self, length: int) -> Piece:
        """Input of the next prefill step: `length` tokens of the prompt."""
        tokens = self.prompt[self.computed : self.computed + length]
        return Piece(tokens, self.computed, self.slot, self.adapter)

    def fail(self, error: EngineError) -> None:
        if not self.finished:
            self.finished = True
            self.handle.fail(error)

    def give_up(self) -> bool:
        """Fail the sequence if it was cancelled or is late; returns whether it has ended."""
        if self.handle.cancelled:
            self.fail(Cancelled("cancelled"))
        elif self.handle.request.is_late():
            self.fail(DeadlineExceeded(f"late after {len(self.tokens)} tokens"))
        return self.finished

    def take(self, choice: Choice, model: LanguageModel) -> None:
        """Postprocess a sampled token: append it, advance grammar and text, end or push a delta."""
        token, logprob, top = choice
        if not self.tokens:
            self.first_token_at = time.monotonic()
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if self.sampler.options.top_logprobs:
            self.top.append(top)
        if math.isnan(logprob):
            self.fail(GenerationFailed("the model's numbers are not finite"))
            return
        if self.constraint is not None:
            wrong = self.constraint.accept(token)
            if wrong is not None:
                self.fail(model.constraints.failed(self.constraint, wrong))
                return
        if self.sampler.is_penalised:
            self.sampler.saw(token)
        is_end = token in model.end_tokens
        if self.text is not None and not is_end:
            self.text.take(token)
        if is_end or (self.constraint is not None and self.constraint.is_complete):
            self._finish(model.decode(self.tokens), "stop")
        elif self.text is not None and self.text.cut is not None:
            self._finish(self.text.text[: self.text.cut], "stop")
        elif len(self.tokens) == self.limit:
            self._finish(model.decode(self.tokens), "length")
        elif self.text is not None:
            self._push(self.text.hand_out())

    def _push(self, text: str) -> None:
        if self.handle.request.stream:
            delta = Delta(text, self.tokens[-1:], self.logprobs[-1:], self.top[-1:])
            self.handle.push(delta)

    def _finish(self, text: str, reason: FinishReason) -> None:
        self.finished = True
        if self.text is not None:
            self._push(self.text.rest(text))
        key = self.adapter.ref.key if self.adapter is not None else None
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
                top_logprobs=self.top,
                cached_tokens=self.cached,
                queued_seconds=self.started_at - self.submitted_at,
                first_token_seconds=self.first_token_at - self.submitted_at,
            )
        )
