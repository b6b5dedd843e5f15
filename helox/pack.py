"""Examples to batches: which of them make a step, and how they lie in rows.

A step is `batch_size x gradient_accumulation_steps` examples whether they are packed or not:
packing changes the layout, never the result. Axis letters: R rows, T tokens in a row,
N predicted tokens of the batch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from helox.mask import Example

MAX_PACK_LENGTH = 1024  # tokens in a row, where it is not given and no example is longer
MORE_ROWS = 8  # than the fewest, that are tried
# Tokens in a row for which attention costs as much as the linear layers: of 256 x 4 and 576 x 30.
EQUAL_COST_WIDTH = 2000
PADDING_ID = 0  # any token will do: no loss is taken there and no other token sees it


@dataclass(frozen=True)
class Batch:
    """Tensors of one forward pass."""

    ids_RT: torch.Tensor
    # Positions from 0 in every segment. A jump in them is what tells the model that one segment
    # ends and the next must not see it. None when every row is one example: the model counts.
    positions_RT: torch.Tensor | None
    predicting_N: torch.Tensor  # index in the flattened R x T of the token before each target
    targets_N: torch.Tensor
    tokens: int  # without padding
    # How many targets each example has, in the order of `targets_N`.
    targets_of_example: tuple[int, ...] = ()

    def to(self, device: torch.device) -> Batch:
        positions = None if self.positions_RT is None else self.positions_RT.to(device)
        return Batch(
            self.ids_RT.to(device),
            positions,
            self.predicting_N.to(device),
            self.targets_N.to(device),
            self.tokens,
            self.targets_of_example,
        )


def order_of_epoch(count: int, seed: int, epoch: int) -> list[int]:
    """A shuffle that depends on nothing but its arguments, so that resuming needs no state."""
    order = list(range(count))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    return order


def steps_of_epoch(
    examples: Sequence[Example], size: int, *, seed: int, epoch: int, done: int
) -> Iterator[list[Example]]:
    """The examples of each step of an epoch, `size` a step, without the first `done` steps."""
    order = order_of_epoch(len(examples), seed, epoch)
    for start in range(done * size, len(order), size):
        yield [examples[i] for i in order[start : start + size]]


def split_step(examples: Sequence[Example], size: int) -> list[list[Example]]:
    """Micro-batches of at most `size` examples, alike in length within each."""
    by_length = sorted(examples, key=lambda example: -len(example.ids))
    return [by_length[i : i + size] for i in range(0, len(by_length), size)]


def pack(examples: Sequence[Example], pack_length: int | None) -> list[list[Example]]:
    """Spreads examples over rows, evenly filled: even rows need the least padding.

    In as few rows of `pack_length` tokens as hold them; None: in as many as cost the least.
    """
    by_length = sorted(examples, key=lambda example: -len(example.ids))
    longest = len(by_length[0].ids)
    total = sum(len(example.ids) for example in examples)
    limit = max(pack_length or MAX_PACK_LENGTH, longest)
    count = -(-total // limit)
    while _width(rows := _spread(by_length, count)) > limit:
        count += 1
    if pack_length is not None:
        return rows
    best = _even(rows)
    for more in range(count + 1, min(count + MORE_ROWS, len(by_length)) + 1):
        rows = _even(_spread(by_length, more))
        if _cost(rows) < _cost(best):
            best = rows
    return best


def _spread(by_length: Sequence[Example], count: int) -> list[list[Example]]:
    """Over `count` rows: the longest first, into the emptiest row."""
    rows: list[list[Example]] = [[] for _ in range(count)]
    filled = [0] * count
    for example in by_length:
        emptiest = filled.index(min(filled))
        rows[emptiest].append(example)
        filled[emptiest] += len(example.ids)
    return rows


def _even(rows: list[list[Example]]) -> list[list[Example]]:
    """Exchanges examples between the fullest row and another as long as both get less full."""
    rows = [list(row) for row in rows]
    while True:
        filled = [_tokens(row) for row in rows]
        fullest = filled.index(max(filled))
        exchange = _exchange(rows, filled, fullest)
        if exchange is None:
            return rows
        i, other, j = exchange
        rows[fullest][i], rows[other][j] = rows[other][j], rows[fullest][i]


def _exchange(
    rows: list[list[Example]], filled: list[int], fullest: int
) -> tuple[int, int, int] | None:
    """(index in the fullest row, other row, index in it) that evens most, if any does."""
    best, least = None, filled[fullest]
    for other, row in enumerate(rows):
        for i, mine in enumerate(rows[fullest]):
            for j, theirs in enumerate(row if other != fullest else ()):
                moved = len(mine.ids) - len(theirs.ids)
                after = max(filled[fullest] - moved, filled[other] + moved)
                if after < least:
                    best, least = (i, other, j), after
    return best


def _tokens(row: Sequence[Example]) -> int:
    return sum(len(example.ids) for example in row)


def _width(rows: Sequence[Sequence[Example]]) -> int:
    return max(_tokens(row) for row in rows)


def _cost(rows: Sequence[Sequence[Example]]) -> float:
    """Relative cost of a forward pass: linear layers by tokens, attention by tokens x width."""
    width = _width(rows)
    return len(rows) * width * (1 + width / EQUAL_COST_WIDTH)


def batch_of(rows: Sequence[Sequence[Example]]) -> Batch:
    """Lays segments out in rows, padded on the right to the longest row."""
    width = max(sum(len(example.ids) for example in row) for row in rows)
    ids: list[list[int]] = []
    positions: list[list[int]] = []
    predicting: list[int] = []
    targets: list[int] = []
    targets_of_example: list[int] = []
    tokens = 0
    for r, row in enumerate(rows):
        row_ids: list[int] = []
        row_positions: list[int] = []
        for example in row:
            start = r * width + len(row_ids)
            # The first token of a segment is predicted by nothing: behind it lies a stranger.
            chosen = [j for j in range(1, len(example.ids)) if example.trained[j]]
            predicting += [start + j - 1 for j in chosen]
            targets += [example.ids[j] for j in chosen]
            targets_of_example.append(len(chosen))
            row_ids += example.ids
            row_positions += range(len(example.ids))
        tokens += len(row_ids)
        padding = width - len(row_ids)
        ids.append(row_ids + [PADDING_ID] * padding)
        positions.append(row_positions + [0] * padding)
    packed = any(len(row) > 1 for row in rows)
    return Batch(
        ids_RT=torch.tensor(ids),
        positions_RT=torch.tensor(positions) if packed else None,
        predicting_N=torch.tensor(predicting),
        targets_N=torch.tensor(targets),
        tokens=tokens,
        targets_of_example=tuple(targets_of_example),
    )


def layout(examples: Sequence[Example], packing: bool, pack_length: int | None) -> Batch:
    """One micro-batch: packed, or one example a row."""
    return batch_of(pack(examples, pack_length) if packing else [[e] for e in examples])
