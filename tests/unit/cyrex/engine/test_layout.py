from __future__ import annotations

import pytest
import torch

from cyrex.engine.kv import NO_SLOT, Segment, SlotCache
from cyrex.engine.layout import Layout, Piece

CPU = torch.device("cpu")


def test_rows_that_decode_come_first_and_prompts_after_them() -> None:
    decoding = [Piece([7], 5, 1, None), Piece([8], 9, 0, None)]
    prompts = [Piece([1, 2, 3], 0, 2, None), Piece([4, 5], 6, NO_SLOT, None)]
    layout = Layout(decoding, prompts, SlotCache(1, 3, 32), CPU)
    assert layout.tokens.tolist() == [[7, 8, 1, 2, 3, 4, 5]]
    assert layout.positions.tolist() == [[5, 9, 0, 1, 2, 6, 7]]
    assert layout.decoding == 2
    assert layout.slots.tolist() == layout.slot_index.tolist() == [1, 0]
    assert layout.places.tolist() == layout.place_index.tolist() == [5, 9]
    assert layout.segments == [Segment(2, 5, 0, 2), Segment(5, 7, 6, NO_SLOT)]


def test_prompts_alone_decode_nothing() -> None:
    layout = Layout([], [Piece([1, 2], 0, 0, None)], SlotCache(1, 1, 8), CPU)
    assert (layout.decoding, layout.slots.tolist()) == (0, [])
    assert layout.segments == [Segment(0, 2, 0, 0)]


def test_a_row_decodes_one_token_a_step() -> None:
    with pytest.raises(AssertionError):
        Layout([Piece([1, 2], 0, 0, None)], [], SlotCache(1, 1, 8), CPU)
