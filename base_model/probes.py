"""Evaluates the model on fresh examples of each family: loss and exact match.

Exact match is teacher-forced: an answer counts if each of its tokens is the most likely one, which
is when greedy decoding would produce the whole answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from base_model.compute import FastForward
from base_model.diet.example import Example
from base_model.pack import encode, fill

PROBE_ROWS, PROBE_LENGTH = 8, 256


@dataclass(frozen=True)
class Probe:
    loss: float
    exact: float
    examples: int


@torch.no_grad()
def probe(
    forward: FastForward,
    tokenizer: Tokenizer,
    generate: Callable[[random.Random], Example],
    seed: int,
    batches: int = 1,
) -> Probe:
    """Mean loss of the trained tokens, and share of examples answered exactly."""
    rng = random.Random(f"probe-{seed}")
    loss, count, right, total = 0.0, 0.0, 0, 0
    for _ in range(batches):
        encoded: list[tuple[list[int], list[float]]] = []
        while sum(len(ids) for ids, _ in encoded) < PROBE_ROWS * PROBE_LENGTH * 1.2:
            ids, weights = encode(tokenizer, generate(rng))
            if len(ids) <= PROBE_LENGTH:
                encoded.append((ids, weights))
        rows = fill(encoded, PROBE_ROWS, PROBE_LENGTH)
        hidden = forward.hidden(rows.tokens, rows.positions, rows.segments)[:, :-1]
        picked = rows.weights[:, 1:] > 0
        table = forward.model.model.embed_tokens.weight.to(torch.bfloat16)
        logits = (hidden[picked] @ table.T).float()
        wanted = rows.tokens[:, 1:][picked]
        loss += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item()
        count += len(wanted)
        segments = rows.segments[:, 1:][picked]
        hits = logits.argmax(-1) == wanted
        for segment in set(segments.tolist()):
            right += int(hits[segments == segment].all().item())
            total += 1
    return Probe(loss / max(count, 1), right / max(total, 1), total)
