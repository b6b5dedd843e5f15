"""Packing, and the fast forward pass against the library's own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from base_model.compute import FastForward
from base_model.diet.example import ask
from base_model.pack import encode, fill
from base_model.pretrain import DECAY_SHARE, LEARNING_RATE, WARMUP_STEPS, learning_rate

MODEL = Path(__file__).parents[3] / "base_model" / "cyrex-small"


def test_pieces_are_encoded_as_the_whole_text_would_be() -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    example = ask("What is 2024-01-07 in it?", "the date", system="Be brief.")
    ids, weights = encode(tokenizer, example)
    whole = "".join(str(p.content) for p in example)
    assert ids == tokenizer.encode(whole, add_special_tokens=False).ids
    learned = [i for i, w in zip(ids, weights, strict=True) if w > 0]
    assert tokenizer.decode(learned, skip_special_tokens=False) == "the date<|end|>"


def test_rows_hold_whole_examples_with_their_own_positions() -> None:
    rng = random.Random(0)
    examples = [([9 + n] * rng.randint(3, 20), 1.0) for n in range(12)]
    rows = fill([(ids, [w] * len(ids)) for ids, w in examples], rows=4, length=32)
    for number in set(rows.segments.flatten().tolist()) - {-1}:
        here = rows.segments == number
        ids = examples[number][0]
        assert rows.tokens[here].tolist() == ids
        assert rows.positions[here].tolist() == list(range(len(ids)))
        # The first token has no predecessor of its own example.
        assert rows.weights[here].tolist() == [0.0] + [1.0] * (len(ids) - 1)
    assert rows.weights[rows.segments == -1].sum() == 0


def test_an_example_longer_than_a_row_is_cut() -> None:
    rows = fill([([7] * 50, [1.0] * 50)], rows=1, length=16)
    assert rows.tokens.tolist() == [[7] * 16]


def test_fast_forward_agrees_with_the_library_on_packed_rows() -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    rng = random.Random(1)
    parts = [[rng.randrange(8, 4096) for _ in range(n)] for n in (20, 11, 30)]
    rows = fill([(p, [1.0] * len(p)) for p in parts], rows=1, length=64)
    forward = FastForward(model, compiled=False)
    hidden = forward.hidden(rows.tokens, rows.positions, rows.segments).float()[0]
    start = 0
    for part in parts:
        alone = model.model(input_ids=torch.tensor([part])).last_hidden_state[0]
        packed = hidden[start : start + len(part)]
        # bf16 against fp32: about three significant digits.
        assert (packed - alone).abs().mean() < 0.03 * alone.abs().mean()
        start += len(part)


def test_loss_is_that_of_the_learned_tokens() -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    ids = list(range(100, 120))
    weights = [0.0] * 12 + [1.0] * 8
    rows = fill([(ids, weights)], rows=1, length=24)
    total, count = FastForward(model, compiled=False).loss(
        rows.tokens, rows.positions, rows.segments, rows.weights
    )
    labels = torch.tensor([[-100] * 12 + ids[12:]])
    expected = model(input_ids=torch.tensor([ids]), labels=labels).loss
    assert count.item() == 8
    assert total.item() / 8 == pytest.approx(expected.item(), rel=0.02)


def test_learning_rate_warms_up_stays_and_decays_to_zero() -> None:
    budget = 1000.0
    assert learning_rate(0, 0.0, budget) == pytest.approx(LEARNING_RATE / WARMUP_STEPS)
    assert learning_rate(5000, 0.5 * budget, budget) == LEARNING_RATE
    middle = budget * (1 - DECAY_SHARE / 2)
    assert learning_rate(5000, middle, budget) == pytest.approx(LEARNING_RATE / 2)
    assert learning_rate(5000, budget, budget) == 0.0
