from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helox.base import Base
from helox.evaluate import Evaluation, evaluate
from helox.mask import Encoder, Example
from helox.model import Learner, build_learner
from helox.render import to_messages
from helox.spec import TrainingConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def learner(tiny_base: Path) -> Learner:
    config = TrainingConfig(lora_dropout=0.5)
    return build_learner(Base.open(tiny_base), config, use_qlora=False, seed=0, device=CPU)


@pytest.fixture(scope="module")
def examples(tiny_base: Path) -> list[Example]:
    encoder = Encoder.of(Base.open(tiny_base), 64)
    lines = [{"input": "x" * n, "output": "y" * (n % 7 + 1)} for n in range(1, 40)]
    return [encoder.encode(to_messages(line))[0] for line in lines]


def measure(learner: Learner, examples: list[Example], packing: bool = True) -> Evaluation:
    return evaluate(learner, examples, packing=packing, pack_length=None, before_batch=lambda: None)


def test_means_over_tokens_without_dropout(learner: Learner, examples: list[Example]) -> None:
    learner.model.train()
    whole = measure(learner, examples)
    assert learner.model.training  # as it was found
    parts = [measure(learner, [example]) for example in examples]
    tokens = sum(part.tokens for part in parts)
    assert whole.tokens == tokens == sum(example.trained_tokens for example in examples)
    mean = sum(part.loss * part.tokens for part in parts) / tokens
    assert whole.loss == pytest.approx(mean, rel=1e-4)
    right = sum(part.token_accuracy * part.tokens for part in parts) / tokens
    assert whole.token_accuracy == pytest.approx(right)


def test_it_has_its_own_answer_to_little_memory(learner: Learner, examples: list[Example]) -> None:
    expected = measure(learner, examples, packing=False)

    def refuse(module: Any, args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].numel() > 100:
            raise torch.OutOfMemoryError("tokens")

    handle = learner.model.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        found = measure(learner, examples, packing=False)
    finally:
        handle.remove()
    assert found.tokens == expected.tokens
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)


def test_it_can_be_left_early(learner: Learner, examples: list[Example]) -> None:
    def leave() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate(learner, examples, packing=True, pack_length=None, before_batch=leave)
    assert learner.model.training
