"""Holding rows to their grammars: which tokens may come next, by llguidance."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from llguidance import LLExecutor, LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.torch import fill_next_token_bitmask_par

from cyrex.engine.errors import GrammarRefused
from cyrex.engine.grammar import Grammar

# Compiled grammars kept: a company asks with the same few again and again.
MAX_COMPILED = 256
BITS = 32
MAX_MESSAGE = 300


class Constraint:
    """One row's place in its grammar."""

    __slots__ = ("matcher",)

    def __init__(self, matcher: LLMatcher) -> None:
        self.matcher = matcher

    def accept(self, token: int) -> str | None:
        """Go on by one token. Returns what is wrong if the grammar does not allow it."""
        if self.matcher.consume_token(token):
            return None
        return _reason(self.matcher)

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow any more."""
        return bool(self.matcher.is_stopped())


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Tokens that some rows of a batch may not take.

    rows: (constrained,) their places in the batch; mask: (constrained, vocabulary), true is barred.
    """

    rows: torch.Tensor
    mask: torch.Tensor


class Constraints:
    """Compiles grammars for one tokenizer. Thread-safe but for `forbidden`."""

    def __init__(
        self, tokenizer: Any, vocabulary: int, end_tokens: frozenset[int], threads: int
    ) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._end_tokens = end_tokens
        self._lock = threading.Lock()
        self._wrapped: LLTokenizer | None = None
        self._executor = LLExecutor(num_threads=threads)
        self._compiled: OrderedDict[Grammar, LLMatcher] = OrderedDict()

    def of(self, grammar: Grammar) -> Constraint:
        """The beginning of `grammar`. Raises GrammarRefused when it does not compile."""
        with self._lock:
            known = self._compiled.get(grammar)
            if known is not None:
                self._compiled.move_to_end(grammar)
                return Constraint(known.deep_copy())
            wrapped = self._wrapped or self._wrap()
        matcher = LLMatcher(wrapped, _compilable(grammar), log_level=0)
        if matcher.is_error():
            raise GrammarRefused(f"grammar: {_reason(matcher)}")
        with self._lock:
            self._compiled[grammar] = matcher.deep_copy()
            if len(self._compiled) > MAX_COMPILED:
                self._compiled.popitem(last=False)
        return Constraint(matcher)

    def forbidden(
        self, constraints: Sequence[Constraint | None], device: torch.device
    ) -> Forbidden | None:
        """What the constrained rows of a batch may not take next; None where no row is."""
        bound = [(i, c.matcher) for i, c in enumerate(constraints) if c is not None]
        if not bound:
            return None
        words = -(-self._width // BITS)
        bitmask = torch.zeros((len(bound), words), dtype=torch.int32)
        matchers = [(matcher, place) for place, (_, matcher) in enumerate(bound)]
        fill_next_token_bitmask_par(self._executor, matchers, bitmask)
        octets = bitmask.numpy().view(np.uint8)
        bits = np.unpackbits(octets, axis=1, count=self._vocabulary, bitorder="little")
        mask = torch.from_numpy(bits) == 0
        rows = torch.tensor([row for row, _ in bound])
        return Forbidden(rows.to(device), mask.to(device))

    @property
    def _width(self) -> int:
        # A tokenizer may know more tokens than the model has logits, or fewer.
        return max(self._vocabulary, len(self._tokenizer))

    def _wrap(self) -> LLTokenizer:
        """Read the tokenizer's vocabulary, once: it takes a second for a large one."""
        try:
            self._wrapped = from_tokenizer(
                self._tokenizer, n_vocab=self._width, eos_token=sorted(self._end_tokens) or None
            )
        except ValueError as error:
            raise GrammarRefused(f"grammar: not with this base model: {error}") from error
        return self._wrapped


def _compilable(grammar: Grammar) -> str:
    if grammar.kind == "lark":
        return str(LLMatcher.grammar_from_lark(grammar.source))
    try:
        return str(
            LLMatcher.grammar_from_json_schema(
                grammar.source, defaults={"whitespace_flexible": False}
            )
        )
    except ValueError as error:
        raise GrammarRefused(f"grammar: {error}") from error


def _reason(matcher: LLMatcher) -> str:
    """The first line: the others repeat the grammar and the text."""
    return (matcher.get_error() or "the grammar is exhausted").splitlines()[0][:MAX_MESSAGE]
