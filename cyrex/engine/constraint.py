"""Constrained decoding: which tokens a sequence's grammar allows next, computed by llguidance."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from llguidance import LLExecutor, LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from cyrex.engine.errors import EngineError, GenerationFailed, GrammarRefused
from cyrex.engine.grammar import Grammar
from cyrex.engine.kernels import mask_logits

# Compiled grammars kept in an LRU cache: companies use the same few again and again.
MAX_COMPILED = 256
BITS = 32
MAX_MESSAGE = 300


class Constraint:
    """The state of one sequence in its grammar."""

    __slots__ = ("grammar", "is_first", "matcher")

    def __init__(self, matcher: LLMatcher, grammar: Grammar, is_first: bool) -> None:
        self.matcher = matcher
        self.grammar = grammar
        self.is_first = is_first  # The first sequence that uses this compiled grammar.

    def accept(self, token: int) -> str | None:
        """Advance by one token. Returns an error text if the grammar does not allow it."""
        # A matcher that has hit its limits would allow the end token anywhere.
        if self.matcher.consume_token(token) and not self.matcher.is_error():
            return None
        return _reason(self.matcher)

    @property
    def is_complete(self) -> bool:
        """Whether the grammar allows no further token."""
        return bool(self.matcher.is_stopped())


@dataclass(frozen=True, slots=True)
class Allowed:
    """The grammar masks of one batch.

    which: (rows,) int64, for each row of the batch its row of `words`; -1 if unconstrained.
    words: (constrained, vocabulary / 32) int32, one bit a token, the lowest bit first.
    """

    which: Any
    words: Any

    def of(self, logits: torch.Tensor) -> torch.Tensor:
        """A copy of `logits` (rows, vocabulary), fp32, with -inf for every masked token."""
        if logits.device.type == "cpu":
            allowed = torch.empty(logits.shape)
            mask_logits(logits.contiguous().numpy(), self.words, self.which, allowed.numpy())
            return allowed
        octets, size = self.words.view(np.uint8), logits.shape[1]
        bits = np.unpackbits(octets, axis=1, count=size, bitorder="little")
        masked = np.zeros(logits.shape, dtype=bool)
        masked[self.which >= 0] = bits[self.which[self.which >= 0]] == 0
        return logits.masked_fill(torch.from_numpy(masked).to(logits.device), float("-inf"))


class Constraints:
    """Compiles grammars for one tokenizer. Thread-safe but for `allowed`."""

    def __init__(
        self, tokenizer: Any, vocabulary: int, end_tokens: frozenset[int], threads: int
    ) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._end_tokens = end_tokens
        self._lock = threading.Lock()
        self._wrapped: LLTokenizer | None = None
        self._threads = threads
        self._executor = LLExecutor(num_threads=threads)
        self._compiled: OrderedDict[Grammar, LLMatcher] = OrderedDict()

    def of(self, grammar: Grammar) -> Constraint:
        """A constraint at the start of `grammar`. Raises GrammarRefused if it does not compile."""
        with self._lock:
            known = self._compiled.get(grammar)
            if known is not None:
                self._compiled.move_to_end(grammar)
                return Constraint(known.deep_copy(), grammar, is_first=False)
            wrapped = self._wrapped or self._wrap()
        matcher = LLMatcher(wrapped, _compilable(grammar), log_level=0)
        if matcher.is_error():
            raise GrammarRefused(f"grammar: {_reason(matcher)}")
        with self._lock:
            self._compiled[grammar] = matcher.deep_copy()
            if len(self._compiled) > MAX_COMPILED:
                self._compiled.popitem(last=False)
        return Constraint(matcher, grammar, is_first=True)

    def failed(self, constraint: Constraint, reason: str) -> EngineError:
        """The error for a sequence that cannot go on, after dropping the compiled grammar.

        Copies of a matcher share one lexer and its limit of states, so the next request with this
        grammar must compile it anew.
        """
        with self._lock:
            self._compiled.pop(constraint.grammar, None)
        kind = GrammarRefused if constraint.is_first else GenerationFailed
        return kind(f"grammar: {reason}")

    def allowed(self, constraints: Sequence[Constraint | None]) -> Allowed | None:
        """The masks of a batch's next tokens; None where no row is constrained."""
        bound = [c.matcher for c in constraints if c is not None]
        if not bound:
            return None
        words = np.zeros((len(bound), -(-self._width // BITS)), dtype=np.int32)
        numbers = itertools.count()
        which = [-1 if c is None else next(numbers) for c in constraints]
        pointer, octets = words.ctypes.data, words.strides[0]
        if self._threads > 1:
            matchers = [(matcher, place) for place, matcher in enumerate(bound)]
            self._executor.unsafe_compute_mask_ptr(matchers, pointer, octets, len(bound))
        else:
            for place, matcher in enumerate(bound):
                matcher.unsafe_compute_mask_ptr(pointer + place * octets, octets)
        return Allowed(np.array(which), words)

    @property
    def _width(self) -> int:
        # A tokenizer may have more tokens than the model has logits, or fewer.
        return max(self._vocabulary, len(self._tokenizer))

    def _wrap(self) -> LLTokenizer:
        """Convert the tokenizer for llguidance, once: it takes a second for a large vocabulary."""
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
    """The matcher's error: its first line, as the others repeat the grammar and the text. A
    pattern that does not compile gives its cause in the last line, which is added."""
    lines = (matcher.get_error() or "the grammar is exhausted").splitlines()
    said = lines[0]
    if said.endswith(":") and len(lines) > 1:
        said = f"{said} {lines[-1].removeprefix('error: ')}"
    return said[:MAX_MESSAGE]
