"""Score given answers: the loss that training minimises, at the serving precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from cyrex.engine.adapters import Adapter
from cyrex.engine.kv import NO_SLOT
from cyrex.engine.layout import Piece
from cyrex.engine.lora import Planner
from cyrex.engine.model import LanguageModel

# Tokens of one forward pass.
PASS_TOKENS = 2048
# Most fp32 logits of one pass: answer tokens x vocabulary.
PASS_LOGITS = 1 << 26


@dataclass(frozen=True, slots=True)
class ScoredExample:
    """A prompt and the answer that should follow, both as tokens."""

    prompt: list[int]
    answer: list[int]

    def __post_init__(self) -> None:
        if not self.prompt or not self.answer:
            raise ValueError("prompt and answer must not be empty")

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def answer_losses(
    model: LanguageModel,
    planner: Planner,
    adapter: Adapter | None,
    examples: Sequence[ScoredExample],
) -> list[float]:
    """Each example's summed negative log-probability (nats) of its answer's tokens.

    Examples must fit the model's context.
    """
    losses: list[float] = []
    for group in _groups(examples, model.vocabulary):
        losses += _losses(model, planner, adapter, group)
    return losses


def _groups(examples: Sequence[ScoredExample], vocabulary: int) -> Iterator[list[ScoredExample]]:
    group: list[ScoredExample] = []
    tokens = answers = 0
    for example in examples:
        tokens += len(example)
        answers += len(example.answer)
        if group and (tokens > PASS_TOKENS or answers * vocabulary > PASS_LOGITS):
            yield group
            group, tokens, answers = [], len(example), len(example.answer)
        group.append(example)
    if group:
        yield group


def _losses(
    model: LanguageModel,
    planner: Planner,
    adapter: Adapter | None,
    examples: Sequence[ScoredExample],
) -> list[float]:
    pieces: list[Piece] = []
    keep: list[int] = []
    end = 0
    for example in examples:
        # The logits of a token predict the next one: the last token's are not needed.
        tokens = (example.prompt + example.answer)[:-1]
        pieces.append(Piece(tokens, 0, NO_SLOT, adapter))
        end += len(tokens)
        keep += range(end - len(example.answer), end)
    logits = model.forward([], pieces, keep, planner).float()
    answers = [torch.tensor(example.answer, device=logits.device) for example in examples]
    nll = torch.nn.functional.cross_entropy(logits, torch.cat(answers), reduction="none").double()
    parts = torch.split(nll, [len(answer) for answer in answers])
    return [float(part.sum()) for part in parts]
