"""The layout of one forward pass: which token belongs to which slot and position.

A pass is one flat list of tokens without padding: first one token of each decoding sequence, then
prompt chunks of many tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from cyrex.engine.adapters import Adapter
from cyrex.engine.kv import Segment, SlotCache


class Piece(NamedTuple):
    """Consecutive tokens of one sequence: a decoded token, or a prompt chunk.

    past: tokens of the sequence that the KV cache holds already.
    slot: the sequence's slot in the KV cache; with NO_SLOT its keys and values are not stored.
    adapter: None is the base model.
    """

    tokens: Sequence[int]
    past: int
    slot: int
    adapter: Adapter | None


class Layout:
    """The tokens of one pass: those of `decoding`, then those of `prompts`."""

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
        # The same numbers on the device, for torch to index with.
        self.slot_index = torch.from_numpy(self.slots).to(device)
        self.place_index = torch.from_numpy(self.places).to(device)
