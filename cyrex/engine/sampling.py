"""From logits to tokens, for a whole batch at once."""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from cyrex.engine.constraint import Allowed
from cyrex.engine.request import Sampling

# Likeliest tokens that top_k and top_p look at before they sort the whole vocabulary.
CANDIDATES = 128
# Lowest divisor: a lower temperature gives the same draws, and would overflow the logits.
MIN_TEMPERATURE = 1e-100
# Above any vocabulary, and exact as a float.
MAX_TOP_K = 1 << 52


class Sampler:
    """One request's sampling state: parameters, random numbers, and counts of tokens so far.

    The random numbers depend on the request's seed alone, not on the rest of the batch.
    """

    __slots__ = (
        "_counts", "_place", "_prompt", "_random", "_value", "is_greedy", "is_penalised", "options",
    )  # fmt: skip

    def __init__(self, options: Sampling, prompt: Sequence[int] = ()) -> None:
        self.options = options
        self.is_greedy = options.temperature == 0
        self.is_penalised = options.repetition_penalty != 1 or bool(
            options.presence_penalty or options.frequency_penalty
        )
        seed = secrets.randbits(63) if options.seed is None else options.seed
        self._random = None if self.is_greedy else random.Random(seed)
        self._place, self._value = -1, 0.0
        self._prompt = set(prompt) if options.repetition_penalty != 1 else set()
        self._counts: dict[int, int] = {}

    def uniform(self, place: int) -> float:
        """The random number, from 0 to below 1, for the answer's token number `place` (from 0).

        `place` never decreases; a step that is run again gets the same number.
        """
        assert self._random is not None
        while self._place < place:
            self._place, self._value = self._place + 1, self._random.random()
        return self._value

    def saw(self, token: int) -> None:
        """Count a token of the answer, for the penalties."""
        if self.is_penalised:
            self._counts[token] = self._counts.get(token, 0) + 1

    def penalise(self, logits: torch.Tensor) -> torch.Tensor:
        """One row's logits (vocabulary,) with the penalties applied, as a copy."""
        o, logits = self.options, logits.clone()
        seen = sorted(self._prompt | self._counts.keys())
        if seen and o.repetition_penalty != 1:
            index = torch.tensor(seen, device=logits.device)
            old = logits[index]
            new = torch.where(old > 0, old / o.repetition_penalty, old * o.repetition_penalty)
            # Division by a penalty close to 0 gives a huge logit: keep it finite.
            logits[index] = new.clamp(max=torch.finfo(new.dtype).max)
        if self._counts and (o.presence_penalty or o.frequency_penalty):
            index = torch.tensor(list(self._counts), device=logits.device)
            counts = torch.tensor(list(self._counts.values()), device=logits.device)
            logits[index] -= o.presence_penalty + o.frequency_penalty * counts
        return logits


class Choice(NamedTuple):
    """A row's next token.

    logprob: the model's own, before grammar, penalties and temperature. It is NaN where the
        row's logits are not finite.
    top: the `top_logprobs` likeliest tokens and their logs.
    """

    token: int
    logprob: float
    top: list[tuple[int, float]]


def choose(
    logits: torch.Tensor,
    samplers: Sequence[Sampler],
    places: Sequence[int],
    may_take: Allowed | None = None,
) -> list[Choice]:
    """Sample one token a row of `logits` (rows, vocabulary).

    places: how many tokens each row's answer has already.
    """
    logits = logits.float()
    allowed = logits
    penalised = [i for i, sampler in enumerate(samplers) if sampler.is_penalised]
    if penalised:
        allowed = logits.clone()
    for i in penalised:
        allowed[i] = samplers[i].penalise(logits[i])
    if may_take is not None:
        allowed = may_take.of(allowed)
    tokens = _likeliest(allowed)
    sampled = [i for i, sampler in enumerate(samplers) if not sampler.is_greedy]
    if sampled:
        uniforms = [samplers[i].uniform(places[i]) for i in sampled]
        options = [samplers[i].options for i in sampled]
        rows = torch.tensor(sampled, device=logits.device)
        tokens[rows] = _draw(allowed[rows], options, uniforms)
    totals = logits.logsumexp(-1)
    logprobs = (logits.gather(-1, tokens[:, None]).squeeze(-1) - totals).tolist()
    choices = [Choice(*pair, []) for pair in zip(tokens.tolist(), logprobs, strict=True)]
    for i, sampler in enumerate(samplers):
        if sampler.options.top_logprobs:
            top = _top(logits[i], totals[i], sampler.options.top_logprobs)
            choices[i] = choices[i]._replace(top=top)
    return choices


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    """Each row's argmax: the first of equal ones; NaN counts as the largest."""
    if logits.device.type == "cpu":  # numpy is 20 times as fast.
        return torch.from_numpy(logits.numpy().argmax(-1))
    return logits.argmax(-1)


def _top(logits: torch.Tensor, total: torch.Tensor, count: int) -> list[tuple[int, float]]:
    values, tokens = logits.topk(min(count, len(logits)))
    return list(zip(tokens.tolist(), (values - total).tolist(), strict=True))


def _draw(
    logits: torch.Tensor, options: Sequence[Sampling], uniforms: Sequence[float]
) -> torch.Tensor:
    """Inverse-CDF sampling (rows,), each row over the tokens that its own options leave.

    A row's computation must not depend on the other rows' options, so that its answer does not.
    """
    columns = _Columns.of(options, uniforms, logits.device)
    probabilities = (logits.double() / columns.temperature).softmax(-1)
    tokens = torch.empty(len(options), dtype=torch.long, device=logits.device)
    by_rank = [i for i, o in enumerate(options) if o.top_k or o.top_p < 1]
    others = [i for i, o in enumerate(options) if not o.top_k and o.top_p == 1]
    if others:
        rows = torch.tensor(others, device=logits.device)
        tokens[rows] = _pick(probabilities[rows], columns.take(rows))
    if by_rank:
        rows = torch.tensor(by_rank, device=logits.device)
        tokens[rows] = _ranked(probabilities[rows], columns.take(rows))
    return tokens


@dataclass(frozen=True, slots=True)
class _Columns:
    """The rows' sampling parameters and random numbers, (rows, 1) each."""

    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    min_p: torch.Tensor
    uniform: torch.Tensor

    @classmethod
    def of(
        cls, options: Sequence[Sampling], uniforms: Sequence[float], device: torch.device
    ) -> _Columns:
        table = [
            (
                max(o.temperature, MIN_TEMPERATURE),
                min(o.top_k, MAX_TOP_K) or math.inf,
                o.top_p,
                o.min_p,
                uniform,
            )
            for o, uniform in zip(options, uniforms, strict=True)
        ]
        values = torch.tensor(table, dtype=torch.float64, device=device)
        return cls(*torch.split(values, 1, dim=1))

    def take(self, rows: torch.Tensor) -> _Columns:
        columns = self.temperature, self.top_k, self.top_p, self.min_p, self.uniform
        return _Columns(*(column[rows] for column in columns))


def _ranked(probabilities: torch.Tensor, columns: _Columns) -> torch.Tensor:
    """Tokens (rows,) of rows with a top_k or a top_p, drawn from their sorted probabilities.

    The first CANDIDATES are nearly always enough; sorting a whole vocabulary takes as long as
    a forward pass.
    """
    count = min(CANDIDATES, probabilities.shape[1])
    values, order = probabilities.topk(count)
    # top_p applies to what top_k leaves, so `values` must hold all of that.
    covers_top_p = columns.top_k.isinf() & (values.sum(-1, keepdim=True) >= columns.top_p)
    enough = (columns.top_k <= count) | covers_top_p
    tokens = _kept(values, order, columns)
    rest = (~enough[:, 0]).nonzero()[:, 0]
    if len(rest) and count < probabilities.shape[1]:
        values, order = probabilities[rest].sort(stable=True, descending=True)
        tokens[rest] = _kept(values, order, columns.take(rest))
    return tokens


def _kept(values: torch.Tensor, order: torch.Tensor, columns: _Columns) -> torch.Tensor:
    """Draw from sorted probabilities, cut by top_k, then by top_p."""
    ranks = torch.arange(values.shape[1], device=values.device)
    values = values.masked_fill(ranks >= columns.top_k, 0.0)
    total = torch.where(columns.top_k.isinf(), 1.0, values.sum(-1, keepdim=True))
    before = (values.cumsum(-1) - values) / total
    # The first token stays whatever top_p is.
    values = values.masked_fill((before >= columns.top_p) & (ranks > 0), 0.0)
    return order.gather(-1, _pick(values, columns)[:, None]).squeeze(-1)


def _pick(probabilities: torch.Tensor, columns: _Columns) -> torch.Tensor:
    """Indices (rows,) that the random numbers select, after min_p."""
    least = columns.min_p * probabilities.amax(-1, keepdim=True)
    cumulative = probabilities.masked_fill(probabilities < least, 0.0).cumsum(-1)
    places = torch.searchsorted(cumulative, columns.uniform * cumulative[:, -1:], right=True)
    # A NaN total gives an index out of range; the caller finds the NaN in the log-probability.
    return places.clamp_(max=probabilities.shape[1] - 1).squeeze(-1)
