"""Answers of two computations that are equal in exact arithmetic, and nearly so in fp32.

A prompt whose beginning comes from the prefix cache, a row that shares its batch, another number of
threads, another implementation: the same sums in another order. Their last bits differ, and by how
much depends on the processor's vector width. Tokens are equal all the same, but where the two best
logits are a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from cyrex.engine import Completion

# Logits of the tiny models differ by up to 2e-5 from path to path; two that are closer than this
# are a tie, and two log-probabilities that are closer are the same.
TIE = 1e-4


def assert_same(found: Completion, expected: Completion) -> None:
    """Everything is equal, the log-probabilities up to rounding."""
    assert found.logprobs == pytest.approx(expected.logprobs, abs=TIE)
    assert replace(found, logprobs=expected.logprobs) == expected


@dataclass(frozen=True)
class Answer:
    """Tokens, and how far each was ahead of the second best."""

    tokens: list[int]
    leads: list[float]


def generate(model: Any, prompt: Sequence[int], length: int, **options: Any) -> Answer:
    """What transformers answers, greedily."""
    tokens = torch.tensor([list(prompt)])
    with torch.inference_mode():
        output = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=False,
            max_new_tokens=length,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
    best = torch.stack(output.scores)[:, 0].topk(2).values
    answer = output.sequences[0, len(prompt) :].tolist()
    return Answer(answer, (best[:, 0] - best[:, 1]).tolist())


def is_tie(tokens: list[int], expected: Answer) -> bool:
    """False: the tokens are equal. True: they differ, and first where two logits are a tie.
    Anything else fails."""
    if tokens == expected.tokens:
        return False
    pairs = zip(tokens, expected.tokens, strict=False)
    shorter = min(len(tokens), len(expected.tokens))
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    assert place < len(expected.leads), (tokens, expected.tokens)
    assert expected.leads[place] < TIE, (place, tokens, expected.tokens)
    return True
