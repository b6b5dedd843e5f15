"""The losses of given answers are the model's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from cyrex.engine import AdapterRef
from cyrex.engine.loop import Engine
from cyrex.engine.scoring import ScoredExample


def test_losses_are_those_of_the_answers_tokens(
    engine: Engine, base: Path, adapters: list[AdapterRef]
) -> None:
    examples = [
        ScoredExample(list(range(5, 5 + n)), list(range(40, 40 + n % 7 + 1))) for n in (1, 9, 50)
    ]
    losses = engine.losses(None, examples)
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    for example, loss in zip(examples, losses, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([example.prompt + example.answer])).logits[0]
        start = len(example.prompt) - 1
        nll = torch.nn.functional.cross_entropy(
            logits[start:-1], torch.tensor(example.answer), reduction="sum"
        )
        assert loss == pytest.approx(nll.item(), rel=1e-4)
    assert engine.losses(adapters[0], examples) != losses
    assert engine.losses(None, examples) == losses
    assert engine.losses(None, []) == []
