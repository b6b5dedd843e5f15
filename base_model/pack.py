"""Packs examples into token rows: several examples a row, none attends to another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from base_model.diet.example import Example
from base_model.export import PAD_ID


@dataclass(frozen=True)
class Rows:
    """All tensors are [rows, length]; padding has segment -1 and weight 0."""

    tokens: Tensor
    positions: Tensor
    segments: Tensor
    weights: Tensor


def encode(tokenizer: Tokenizer, example: Example) -> tuple[list[int], list[float]]:
    """Token ids and loss weights. Special tokens separate the pieces, so each is encoded alone."""
    ids: list[int] = []
    weights: list[float] = []
    for piece in example:
        part = (
            tokenizer.encode(piece.content, add_special_tokens=False).ids
            if isinstance(piece.content, str)
            else piece.content
        )
        ids += part
        weights += [piece.weight] * len(part)
    return ids, weights


def fill(examples: Iterable[tuple[list[int], list[float]]], rows: int, length: int) -> Rows:
    """Packs the stream first-fit into rows; an example longer than a row is cut at its end."""
    tokens = torch.full((rows, length), PAD_ID, dtype=torch.long)
    positions = torch.zeros((rows, length), dtype=torch.long)
    segments = torch.full((rows, length), -1, dtype=torch.long)
    weights = torch.zeros((rows, length))
    used = [0] * rows
    misses = 0
    for number, (ids, loss) in enumerate(examples):
        ids, loss = ids[:length], loss[:length]
        row = next((r for r in range(rows) if used[r] + len(ids) <= length), None)
        if row is None:
            misses += 1
            if misses > rows // 2 + 2:
                break
            continue
        start, end = used[row], used[row] + len(ids)
        tokens[row, start:end] = torch.tensor(ids)
        positions[row, start:end] = torch.arange(len(ids))
        segments[row, start:end] = number
        # No token predicts the first token of an example.
        weights[row, start + 1 : end] = torch.tensor(loss[1:])
        used[row] = end
    return Rows(tokens, positions, segments, weights)
