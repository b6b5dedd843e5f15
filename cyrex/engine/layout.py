"""What one forward pass is made of: which token belongs to which row, and with which adapter.

All tokens of a pass lie in one line, without padding: first those of the rows that decode, one
token each, then pieces of prompts, many tokens each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from cyrex.engine.adapters import Adapter
from cyrex.engine.kv import Segment, SlotCache


class Piece(NamedTuple):
    """Consecutive tokens of one row.

    past: tokens of the row that the cache holds already.
    slot: the row's in the cache; NO_SLOT keeps nothing of what is computed.
    adapter: None is the base model.
    """

    tokens: Sequence[int]
    past: int
    slot: int
    adapter: Adapter | None


class Layout:
    """Where everything is in one pass. Made of decoding pieces and prompt pieces, in this order."""

    __slots__ = (
        "cache", "decoding", "place_index", "places", "positions", "segments", "slot_index",
        "slots", "tokens",
    )  # fmt: skip

    def __init__(
        self,
        decoding: Sequence[Piece],
        prompts: Sequence[Piece],
        cache: SlotCache,
        device: torch.device,
    ) -> None:
        assert all(len(piece.tokens) == 1 for piece in decoding)
        self.cache = cache
        self.decoding = len(decoding)
        self.slots: Any = np.array([piece.slot for piece in decoding], dtype=np.int64)
        self.segments: list[Segment] = []
        tokens = [piece.tokens[0] for piece in decoding]
        positions = [piece.past for piece in decoding]
        for piece in prompts:
            start, length = len(tokens), len(piece.tokens)
            self.segments.append(Segment(start, start + length, piece.past, piece.slot))
            tokens += piece.tokens
            positions += range(piece.past, piece.past + length)
        line = np.array([tokens, positions], dtype=np.int64)
        both = torch.from_numpy(line).to(device)
        self.tokens, self.positions = both[:1], both[1:]
        self.places: Any = line[1, : self.decoding]
        # The same numbers where torch indexes with them.
        self.slot_index = torch.from_numpy(self.slots).to(device)
        self.place_index = torch.from_numpy(self.places).to(device)
