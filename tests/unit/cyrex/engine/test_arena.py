from __future__ import annotations

import random

import pytest
import torch

from cyrex.engine.arena import ALIGNMENT, Arena, aligned


def arena(pieces: int) -> Arena:
    return Arena(pieces * ALIGNMENT * 4, torch.float32, torch.device("cpu"))


def test_pieces_do_not_overlap_and_all_memory_comes_back() -> None:
    chance = random.Random(3)
    whole = arena(64)
    held: list[tuple[int, int]] = []
    for _ in range(2000):
        if held and chance.random() < 0.5:
            whole.give_back(*held.pop(chance.randrange(len(held))))
        else:
            size = ALIGNMENT * chance.randint(1, 9)
            offset = whole.take(size)
            if offset is not None:
                held.append((offset, size))
        held.sort()
        ends = [offset + size for offset, size in held]
        assert all(end <= start for end, (start, _) in zip(ends, held[1:], strict=False))
        assert whole.used_bytes == 4 * sum(size for _, size in held)
    for piece in held:
        whole.give_back(*piece)
    assert whole.take(whole.size) == 0


def test_what_does_not_fit_is_not_given() -> None:
    whole = arena(4)
    assert whole.take(3 * ALIGNMENT) == 0
    assert whole.take(2 * ALIGNMENT) is None
    assert whole.take(ALIGNMENT) == 3 * ALIGNMENT
    assert whole.take(ALIGNMENT) is None


def test_nothing_is_given_back_twice() -> None:
    whole = arena(4)
    whole.take(ALIGNMENT)
    whole.give_back(0, ALIGNMENT)
    with pytest.raises(AssertionError):
        whole.give_back(0, ALIGNMENT)


def test_sizes_are_rounded_up() -> None:
    assert [aligned(n) for n in (1, 16, 17)] == [16, 16, 32]


def test_memory_ahead_is_touched_and_no_piece_changed() -> None:
    whole = arena(8)
    assert whole.take(2 * ALIGNMENT) == 0
    whole.memory.fill_(7.0)
    for _ in range(2):  # The second time there is nothing left to do.
        whole.touch(3 * ALIGNMENT)
        assert whole.memory[: 2 * ALIGNMENT].eq(7.0).all()
        assert whole.memory[2 * ALIGNMENT : 5 * ALIGNMENT].eq(0.0).all()
        assert whole.memory[5 * ALIGNMENT :].eq(7.0).all()
    assert whole.take(6 * ALIGNMENT) == 2 * ALIGNMENT
    whole.touch(ALIGNMENT)
    assert whole.memory[5 * ALIGNMENT :].eq(7.0).all()
