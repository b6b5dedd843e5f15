"""From logits to tokens, for a whole batch at once."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence

import torch

from cyrex.engine.constraint import Forbidden
from cyrex.engine.request import Request


class Sampler:
    """One request's sampling: its temperature, its top_p and its own random numbers.

    The numbers come from the request's seed alone, so what shares the batch does not matter.
    """

    __slots__ = ("_random", "is_greedy", "temperature", "top_p")

    def __init__(self, request: Request) -> None:
        sampling = request.sampling
        self.is_greedy = sampling.temperature == 0
        self.temperature = sampling.temperature
        self.top_p = sampling.top_p
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._random = random.Random(seed)

    def uniform(self) -> float:
        """The next random number, from 0 to below 1: one for every token."""
        return self._random.random()


def choose(
    logits: torch.Tensor, samplers: Sequence[Sampler], forbidden: Forbidden | None = None
) -> tuple[list[int], list[float]]:
    """One token a row of `logits` (rows, vocabulary), and the log of its probability.

    The probability is the model's own: before grammar, temperature and top_p. It is NaN where the
    row's logits are not finite.
    """
    logits = logits.float()
    allowed = logits
    if forbidden is not None:
        allowed = logits.clone()
        barred = logits[forbidden.rows].masked_fill(forbidden.mask, float("-inf"))
        allowed[forbidden.rows] = barred
    tokens = allowed.argmax(-1)
    sampled = [i for i, sampler in enumerate(samplers) if not sampler.is_greedy]
    if sampled:
        rows = torch.tensor(sampled, device=logits.device)
        tokens[rows] = _sample(
            allowed[rows],
            [samplers[i].temperature for i in sampled],
            [samplers[i].top_p for i in sampled],
            [samplers[i].uniform() for i in sampled],
        )
    chosen = logits.gather(-1, tokens[:, None]).squeeze(-1)
    logprobs = chosen - logits.logsumexp(-1)
    return tokens.tolist(), logprobs.tolist()


def _sample(
    logits: torch.Tensor,
    temperatures: Sequence[float],
    top_ps: Sequence[float],
    uniforms: Sequence[float],
) -> torch.Tensor:
    """Inverse-CDF sampling over the smallest set of tokens that reaches top_p. (rows,)"""

    def column(values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits.device)[:, None]

    scaled = logits.double() / column(temperatures)
    probabilities, order = torch.softmax(scaled, -1).sort(stable=True, dim=-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    # The first token stays whatever top_p is.
    kept = probabilities.masked_fill(before >= column(top_ps), 0.0)
    cumulative = kept.cumsum(-1)
    wanted = column(uniforms) * cumulative[:, -1:]
    places = torch.searchsorted(cumulative, wanted, right=True)
    # A total of NaN finds no place; the caller sees it in the log-probability.
    places = places.clamp_(max=logits.shape[-1] - 1)
    tokens: torch.Tensor = order.gather(-1, places).squeeze(-1)
    return tokens
