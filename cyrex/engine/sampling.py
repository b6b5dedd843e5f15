"""From logits to tokens, for a whole batch at once."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cyrex.engine.constraint import Forbidden
from cyrex.engine.request import Sampling

NEVER = float("-inf")


class Sampler:
    """One request's sampling: its settings, its own random numbers, and the tokens it has seen.

    The numbers come from the request's seed alone, so what shares the batch does not matter.
    """

    __slots__ = ("_counts", "_place", "_prompt", "_random", "_value", "is_greedy", "options")

    def __init__(self, options: Sampling, prompt: Sequence[int] = ()) -> None:
        self.options = options
        self.is_greedy = options.temperature == 0
        seed = secrets.randbits(63) if options.seed is None else options.seed
        self._random = None if self.is_greedy else random.Random(seed)
        self._place, self._value = -1, 0.0
        self._prompt = set(prompt) if options.repetition_penalty != 1 else set()
        self._counts: dict[int, int] = {}

    @property
    def is_penalised(self) -> bool:
        o = self.options
        return bool(o.repetition_penalty != 1 or o.presence_penalty or o.frequency_penalty)

    def uniform(self, place: int) -> float:
        """The random number, from 0 to below 1, of the answer's token at `place`.

        Places come one after the other; a step that is tried again gets the same number.
        """
        assert self._random is not None
        while self._place < place:
            self._place, self._value = self._place + 1, self._random.random()
        return self._value

    def saw(self, token: int) -> None:
        """A token has become part of the answer."""
        if self.is_penalised:
            self._counts[token] = self._counts.get(token, 0) + 1

    def penalise(self, logits: torch.Tensor) -> torch.Tensor:
        """One row's logits (vocabulary,) with the penalties of what was seen."""
        o, logits = self.options, logits.clone()
        seen = sorted(self._prompt | self._counts.keys())
        if seen and o.repetition_penalty != 1:
            index = torch.tensor(seen, device=logits.device)
            old = logits[index]
            logits[index] = torch.where(
                old > 0, old / o.repetition_penalty, old * o.repetition_penalty
            )
        if self._counts and (o.presence_penalty or o.frequency_penalty):
            index = torch.tensor(list(self._counts), device=logits.device)
            counts = torch.tensor(list(self._counts.values()), device=logits.device)
            logits[index] -= o.presence_penalty + o.frequency_penalty * counts
        return logits


@dataclass(frozen=True, slots=True)
class Choice:
    """A row's next token.

    logprob: the model's own: before grammar, penalties and temperature. It is NaN where the
        row's logits are not finite.
    top: the likeliest tokens and their logs, as many as asked for.
    """

    token: int
    logprob: float
    top: list[tuple[int, float]]


def choose(
    logits: torch.Tensor,
    samplers: Sequence[Sampler],
    places: Sequence[int],
    forbidden: Forbidden | None = None,
) -> list[Choice]:
    """One token a row of `logits` (rows, vocabulary); `places`: how many each row has already."""
    logits = logits.float()
    allowed = logits
    penalised = [i for i, sampler in enumerate(samplers) if sampler.is_penalised]
    if forbidden is not None or penalised:
        allowed = logits.clone()
    for i in penalised:
        allowed[i] = samplers[i].penalise(logits[i])
    if forbidden is not None:
        allowed[forbidden.rows] = allowed[forbidden.rows].masked_fill_(forbidden.mask, NEVER)
    tokens = allowed.argmax(-1)
    for i, sampler in enumerate(samplers):
        if not sampler.is_greedy:
            tokens[i] = _draw(allowed[i], sampler.options, sampler.uniform(places[i]))
    totals = logits.logsumexp(-1)
    logprobs = (logits.gather(-1, tokens[:, None]).squeeze(-1) - totals).tolist()
    return [
        Choice(token, logprob, _top(logits[i], totals[i], samplers[i].options.top_logprobs))
        for i, (token, logprob) in enumerate(zip(tokens.tolist(), logprobs, strict=True))
    ]


def _top(logits: torch.Tensor, total: torch.Tensor, count: int) -> list[tuple[int, float]]:
    if not count:
        return []
    values, tokens = logits.topk(min(count, len(logits)))
    return list(zip(tokens.tolist(), (values - total).tolist(), strict=True))


def _draw(logits: torch.Tensor, options: Sampling, uniform: float) -> torch.Tensor:
    """Inverse-CDF sampling of one row (vocabulary,), over the tokens that the options leave.

    Row by row: so a row's answer cannot depend on what its neighbours ask for.
    """
    scaled = logits.double() / options.temperature
    order: torch.Tensor | None = None
    if options.top_k:
        scaled, order = scaled.topk(min(options.top_k, len(scaled)))
    probabilities = scaled.softmax(-1)
    if options.top_p < 1:
        if order is None:
            probabilities, order = probabilities.sort(stable=True, descending=True)
        # The first token stays whatever top_p is.
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= options.top_p, 0.0)
    if options.min_p:
        least = options.min_p * probabilities.max()
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    cumulative = probabilities.cumsum(-1)
    place = torch.searchsorted(cumulative, uniform * cumulative[-1:], right=True)
    # A total of NaN finds no place; the caller sees it in the log-probability.
    place = place.clamp_(max=len(cumulative) - 1)
    return (place if order is None else order[place]).squeeze(0)
