from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from cyrex.engine import Request, Sampling
from cyrex.engine.sampling import Sampler, choose

LOGITS = torch.tensor([0.0, 2.0, 1.0, -1.0])
PROBABILITIES = LOGITS.softmax(-1).tolist()


def sampler(temperature: float = 1.0, top_p: float = 1.0, seed: int | None = 0) -> Sampler:
    sampling = Sampling(temperature, top_p=top_p, seed=seed)
    return Sampler(Request("acme", None, "x", sampling=sampling))


def draw(chosen: Sampler, times: int, logits: torch.Tensor = LOGITS) -> Counter[int]:
    rows = logits.expand(times, -1)
    return Counter(choose(rows, [chosen] * times)[0])


def test_greedy_takes_the_likeliest_and_its_own_probability() -> None:
    tokens, logprobs = choose(torch.stack([LOGITS, -LOGITS]), [sampler(0), sampler(0)])
    assert tokens == [1, 3]
    assert logprobs[0] == pytest.approx(math.log(PROBABILITIES[1]))


def test_frequencies_follow_the_probabilities() -> None:
    counts = draw(sampler(), 4000)
    for token, probability in enumerate(PROBABILITIES):
        assert counts[token] / 4000 == pytest.approx(probability, abs=0.025)


def test_temperature_sharpens_and_flattens() -> None:
    assert draw(sampler(0.01), 200) == Counter({1: 200})
    counts = draw(sampler(100.0), 4000)
    assert all(counts[token] / 4000 == pytest.approx(0.25, abs=0.03) for token in range(4))


@pytest.mark.parametrize(
    ("top_p", "kept"), [(1e-9, {1}), (0.6, {1}), (0.7, {1, 2}), (0.9, {0, 1, 2})]
)
def test_top_p_keeps_the_smallest_set(top_p: float, kept: set[int]) -> None:
    assert set(draw(sampler(top_p=top_p), 1000)) == kept


def test_log_probabilities_are_those_before_temperature_and_top_p() -> None:
    tokens, logprobs = choose(LOGITS[None], [sampler(5.0, 0.5)])
    assert logprobs[0] == pytest.approx(math.log(PROBABILITIES[tokens[0]]))


def test_a_seed_holds_whatever_shares_the_batch() -> None:
    alone = [choose(LOGITS[None], [s])[0][0] for s in [sampler(seed=7)] for _ in range(50)]
    mine, mate = sampler(seed=7), sampler(seed=8, temperature=3.0)
    greedy = sampler(0)
    rows = torch.stack([-LOGITS, LOGITS, LOGITS * 2])
    mixed = [choose(rows, [mate, mine, greedy])[0][1] for _ in range(50)]
    assert mixed == alone
    assert len(set(alone)) > 1


def test_without_a_seed_answers_differ() -> None:
    wide = torch.zeros(1, 1000)
    draws = [choose(wide, [sampler(seed=None)])[0][0] for _ in range(20)]
    assert len(set(draws)) > 1


def test_numbers_that_are_not_finite_show_in_their_row_alone() -> None:
    rows = torch.stack([LOGITS, torch.full((4,), math.nan), torch.full((4,), math.nan)])
    tokens, logprobs = choose(rows, [sampler(0), sampler(0), sampler(1.0)])
    assert tokens[0] == 1
    assert all(0 <= token < 4 for token in tokens)
    assert [math.isnan(value) for value in logprobs] == [False, True, True]
