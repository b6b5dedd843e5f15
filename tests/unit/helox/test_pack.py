from __future__ import annotations

import random
from statistics import mean

from helox.mask import Example
from helox.pack import layout, order_of_epoch, pack, split_step, steps_of_epoch


def example(length: int, prompt: int = 1, token: int = 7) -> Example:
    trained = bytes(prompt) + b"\1" * (length - prompt)
    return Example(tuple([token] * length), trained, 0, length)


def lengths(rows: list[list[Example]]) -> list[list[int]]:
    return [[len(e.ids) for e in row] for row in rows]


def test_rows_are_few_and_even() -> None:
    rows = pack([example(n) for n in (100, 100, 90, 90, 60)], 256)
    assert lengths(rows) == [[100, 90, 60], [100, 90]]
    assert lengths(pack([example(300)], None)) == [[300]]


def test_no_row_is_longer_than_asked() -> None:
    rows = pack([example(n) for n in (40, 40, 40, 30, 30, 30)], 70)
    assert max(sum(row) for row in lengths(rows)) <= 70
    assert sorted(n for row in lengths(rows) for n in row) == [30, 30, 30, 40, 40, 40]


def test_rows_of_no_given_length_waste_little() -> None:
    rng = random.Random(3)
    efficiency = []
    for _ in range(50):
        examples = [example(rng.randint(20, 110)) for _ in range(8)]
        rows = lengths(pack(examples, None))
        width = max(sum(row) for row in rows)
        assert sorted(n for row in rows for n in row) == sorted(len(e.ids) for e in examples)
        efficiency.append(sum(len(e.ids) for e in examples) / (width * len(rows)))
    assert mean(efficiency) > 0.95
    assert len(pack([example(700) for _ in range(3)], None)) == 3  # long ones share no row


def test_positions_start_again_and_nothing_crosses_a_border() -> None:
    batch = layout([example(4, 2, token=5), example(3, 1, token=6)], True, 16)
    assert batch.ids_RT.tolist() == [[5, 5, 5, 5, 6, 6, 6]]
    assert batch.positions_RT is not None
    assert batch.positions_RT.tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    # Tokens 2 and 3 of the first, 1 and 2 of the second, each predicted by the one before it.
    assert batch.predicting_N.tolist() == [1, 2, 4, 5]
    assert batch.targets_N.tolist() == [5, 5, 6, 6]
    assert batch.tokens == 7


def test_the_first_label_of_a_segment_is_masked() -> None:
    batch = layout([example(3, 0), example(3, 0)], True, 16)
    assert batch.predicting_N.tolist() == [0, 1, 3, 4]


def test_padding_goes_by_length_and_not_by_token() -> None:
    batch = layout([example(4, 1, token=0), example(2, 1, token=0)], False, None)
    assert batch.ids_RT.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0]]  # padding and token are both 0
    assert batch.predicting_N.tolist() == [0, 1, 2, 4]
    assert batch.positions_RT is None and batch.tokens == 6


def test_every_epoch_has_an_order_of_its_own_that_only_the_seed_decides() -> None:
    assert order_of_epoch(50, 1, 0) == order_of_epoch(50, 1, 0)
    assert order_of_epoch(50, 1, 0) != order_of_epoch(50, 1, 1)
    assert order_of_epoch(50, 1, 0) != order_of_epoch(50, 2, 0)
    assert sorted(order_of_epoch(50, 1, 0)) == list(range(50))


def test_an_epoch_taken_up_in_the_middle_gives_the_same_steps() -> None:
    examples = [example(2 + i) for i in range(10)]
    whole = list(steps_of_epoch(examples, 3, seed=1, epoch=0, done=0))
    assert [len(step) for step in whole] == [3, 3, 3, 1]
    assert list(steps_of_epoch(examples, 3, seed=1, epoch=0, done=2)) == whole[2:]
    assert list(steps_of_epoch(examples, 3, seed=1, epoch=0, done=4)) == []


def test_micro_batches_hold_every_example_once() -> None:
    examples = [example(n) for n in (3, 9, 5, 7, 4)]
    parts = split_step(examples, 2)
    assert lengths(parts) == [[9, 7], [5, 4], [3]]
