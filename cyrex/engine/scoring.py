"""How probable given answers are: the loss that training minimises, at the serving precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from cyrex.engine.kv import BatchCache
from cyrex.engine.model import LanguageModel

# Padded tokens of one forward pass.
PASS_TOKENS = 2048
# Logits are kept in fp32 for the answers of a pass: rows x answer x vocabulary.
PASS_LOGITS = 1 << 26


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the answer that should follow, both as tokens."""

    prompt: list[int]
    answer: list[int]

    def __post_init__(self) -> None:
        if not self.prompt or not self.answer:
            raise ValueError("prompt and answer must not be empty")

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def answer_losses(model: LanguageModel, examples: Sequence[Example]) -> list[float]:
    """For each example the summed negative log-probability (nats) of its answer's tokens.

    The caller makes the adapter active. Examples must fit the model's context.
    """
    losses = [0.0] * len(examples)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]))
    for group in _groups(order, examples, model.vocabulary):
        for i, loss in zip(group, _losses(model, [examples[i] for i in group]), strict=True):
            losses[i] = loss
    return losses


def _groups(
    order: Sequence[int], examples: Sequence[Example], vocabulary: int
) -> Iterator[list[int]]:
    group: list[int] = []
    longest_answer = 0
    for i in order:
        longest_answer = max(longest_answer, len(examples[i].answer))
        rows = len(group) + 1
        is_full = rows * len(examples[i]) > PASS_TOKENS
        if group and (is_full or rows * longest_answer * vocabulary > PASS_LOGITS):
            yield group
            group, longest_answer = [], len(examples[i].answer)
        group.append(i)
    if group:
        yield group


def _losses(model: LanguageModel, examples: Sequence[Example]) -> list[float]:
    width = max(map(len, examples))
    kept = max(len(example.answer) for example in examples)
    starts = [width - len(example) for example in examples]
    rows = [[0] * s + e.prompt + e.answer for s, e in zip(starts, examples, strict=True)]
    tokens = torch.tensor(rows, device=model.device)
    start_column = torch.tensor(starts, device=model.device)
    # The logits of a column predict the next one: the last column's are not needed.
    logits = model.forward(tokens[:, :-1], start_column, BatchCache(), logits_to_keep=kept)
    targets = tokens[:, -kept:]
    nll = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), reduction="none"
    ).view(targets.shape)
    lengths = torch.tensor([len(e.answer) for e in examples], device=model.device)
    is_answer = torch.arange(kept, device=model.device) >= kept - lengths[:, None]
    sums: list[float] = nll.masked_fill(~is_answer, 0.0).double().sum(-1).tolist()
    return sums
