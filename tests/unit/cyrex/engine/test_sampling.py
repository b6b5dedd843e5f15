from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from cyrex.engine import Sampling
from cyrex.engine.constraint import Allowed
from cyrex.engine.sampling import CANDIDATES, Choice, Sampler, choose

LOGITS = torch.tensor([0.0, 2.0, 1.0, -1.0])
PROBABILITIES = LOGITS.softmax(-1).tolist()


def sampler(temperature: float = 1.0, seed: int | None = 0, **options: Any) -> Sampler:
    return Sampler(Sampling(temperature, seed=seed, **options))


def first(logits: torch.Tensor, chosen: Sampler, place: int = 0) -> Choice:
    return choose(logits[None], [chosen], [place])[0]


def draw(times: int, logits: torch.Tensor = LOGITS, **options: Any) -> Counter[int]:
    samplers = [sampler(seed=seed, **options) for seed in range(times)]
    choices = choose(logits.expand(times, -1), samplers, [0] * times)
    return Counter(choice.token for choice in choices)


def test_greedy_takes_the_likeliest_and_its_own_probability() -> None:
    rows = torch.stack([LOGITS, -LOGITS])
    choices = choose(rows, [sampler(0), sampler(0)], [0, 0])
    assert [choice.token for choice in choices] == [1, 3]
    assert choices[0].logprob == pytest.approx(math.log(PROBABILITIES[1]))


@pytest.mark.parametrize("options", [{}, {"top_p": 0.9999999}, {"top_k": 4}])
def test_frequencies_follow_the_probabilities(options: dict[str, Any]) -> None:
    counts = draw(3000, **options)
    for token, probability in enumerate(PROBABILITIES):
        assert counts[token] / 3000 == pytest.approx(probability, abs=0.03)


def test_temperature_sharpens_and_flattens() -> None:
    assert draw(200, temperature=0.01) == Counter({1: 200})
    counts = draw(3000, temperature=100.0)
    assert all(counts[token] / 3000 == pytest.approx(0.25, abs=0.03) for token in range(4))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_p": 1e-9}, {1}),
        ({"top_p": 0.6}, {1}),
        ({"top_p": 0.7}, {1, 2}),
        ({"top_p": 0.9}, {0, 1, 2}),
        ({"top_k": 1}, {1}),
        ({"top_k": 2}, {1, 2}),
        ({"top_k": 99}, {0, 1, 2, 3}),
        ({"min_p": 0.1}, {0, 1, 2}),
        ({"min_p": 1.0}, {1}),
        ({"top_k": 3, "top_p": 0.7}, {1, 2}),
        ({"top_p": 0.95, "min_p": 0.3}, {1, 2}),
    ],
)
def test_only_what_the_options_leave_is_drawn(options: dict[str, Any], kept: set[int]) -> None:
    assert set(draw(600, **options)) == kept


@pytest.mark.parametrize("temperature", [1e-30, 1e-310, 5e-324])
def test_next_to_no_temperature_is_greedy(temperature: float) -> None:
    assert draw(20, temperature=temperature) == Counter({1: 20})


def test_a_penalty_that_favours_without_measure_favours_what_was_seen() -> None:
    chosen = Sampler(Sampling(1.0, repetition_penalty=1e-44, seed=0), prompt=[2])
    assert first(LOGITS, chosen).token == 2


def test_a_top_k_beyond_any_vocabulary_is_all_of_it() -> None:
    assert set(draw(600, top_k=10**400)) == set(range(len(LOGITS)))


def test_top_p_is_a_share_of_what_top_k_leaves() -> None:
    """Also where the likeliest that are looked at first would make up the share alone."""
    vocabulary, top_k, top_p = 4 * CANDIDATES, 3 * CANDIDATES, 0.2
    tokens = draw(4000, torch.linspace(0.01, 0, vocabulary), top_k=top_k, top_p=top_p)
    assert max(tokens) + 1 == pytest.approx(top_p * top_k, abs=2)


@pytest.mark.parametrize("top_p", [0.5, 0.999])
def test_flat_probabilities_need_more_than_the_likeliest(top_p: float) -> None:
    vocabulary = 4 * CANDIDATES
    tokens = draw(2000, torch.linspace(0, 0.01, vocabulary), top_p=top_p)
    assert len(tokens) > CANDIDATES
    least = (1 - top_p) * vocabulary * 0.98
    assert min(tokens) > least - 1


def test_neighbours_options_change_nothing() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(300)
    kinds = [{}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.05}, {"top_k": 50, "top_p": 0.9}]
    samplers = [sampler(0.9, seed=i, **kind) for i, kind in enumerate(kinds * 8)]
    rows = logits.expand(len(samplers), -1)
    together = choose(rows, samplers, [0] * len(samplers))
    assert [c.token for c in together] == [first(logits, s).token for s in samplers]


def test_log_probabilities_are_those_before_temperature_and_top_p() -> None:
    choice = first(LOGITS, sampler(5.0, top_p=0.5, repetition_penalty=2.0))
    assert choice.logprob == pytest.approx(math.log(PROBABILITIES[choice.token]))


def test_the_likeliest_are_told_on_demand() -> None:
    rows = torch.stack([LOGITS, LOGITS])
    told, quiet = choose(rows, [sampler(0, top_logprobs=2), sampler(0)], [0, 0])
    assert quiet.top == []
    assert [token for token, _ in told.top] == [1, 2]
    assert told.top[0][1] == pytest.approx(told.logprob)
    assert len(first(LOGITS, sampler(0, top_logprobs=20)).top) == 4


def test_a_seed_holds_whatever_shares_the_batch() -> None:
    alone = [first(LOGITS, s, place).token for s in [sampler(seed=7)] for place in range(50)]
    mine, mate = sampler(seed=7), sampler(3.0, seed=8, top_k=2)
    greedy = sampler(0)
    rows = torch.stack([-LOGITS, LOGITS, LOGITS * 2])
    mixed = [choose(rows, [mate, mine, greedy], [p, p, p])[1].token for p in range(50)]
    assert mixed == alone
    assert len(set(alone)) > 1


def test_a_place_that_is_drawn_again_gets_the_same_token() -> None:
    wide = torch.zeros(1000)
    chosen = sampler(seed=1)
    assert first(wide, chosen, 0) == first(wide, chosen, 0)
    assert first(wide, chosen, 0).token != first(wide, chosen, 1).token


def test_without_a_seed_answers_differ() -> None:
    wide = torch.zeros(1000)
    assert len({first(wide, sampler(seed=None)).token for _ in range(20)}) > 1


def test_repetition_counts_prompt_and_answer() -> None:
    chosen = Sampler(Sampling(repetition_penalty=3.0), prompt=[1, 3])
    penalised = chosen.penalise(LOGITS)
    assert penalised.tolist() == pytest.approx([0.0, 2 / 3, 1.0, -3.0])
    assert first(LOGITS, chosen).token == 2
    chosen.saw(2)
    assert chosen.penalise(LOGITS).tolist() == pytest.approx([0.0, 2 / 3, 1 / 3, -3.0])


def test_presence_and_frequency_count_the_answer_alone() -> None:
    chosen = Sampler(Sampling(presence_penalty=0.5, frequency_penalty=0.25), prompt=[0])
    assert torch.equal(chosen.penalise(LOGITS), LOGITS)
    for token in (1, 1, 2):
        chosen.saw(token)
    assert chosen.penalise(LOGITS).tolist() == pytest.approx([0.0, 1.0, 0.25, -1.0])
    assert first(LOGITS, chosen).token == 1


def test_a_barred_token_is_never_taken() -> None:
    may_take = Allowed(np.array([-1, 0]), np.array([[0b1001]], dtype=np.int32))
    rows = torch.stack([LOGITS, LOGITS])
    for place in range(50):
        free, bound = choose(rows, [sampler(0), sampler(9.0, place)], [0, 0], may_take)
        assert free.token == 1
        assert bound.token in (0, 3)
        assert bound.logprob == pytest.approx(math.log(PROBABILITIES[bound.token]))


def test_numbers_that_are_not_finite_show_in_their_row_alone() -> None:
    rows = torch.stack([LOGITS, torch.full((4,), math.nan), torch.full((4,), math.nan)])
    choices = choose(rows, [sampler(0), sampler(0), sampler(1.0)], [0, 0, 0])
    assert choices[0].token == 1
    assert all(0 <= choice.token < 4 for choice in choices)
    assert [math.isnan(choice.logprob) for choice in choices] == [False, True, True]
