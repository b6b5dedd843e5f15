"""Which of a company's rows are held out."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from cyrex.training.split import (
    MAX_HOLDOUT,
    MIN_HOLDOUT,
    MIN_ROWS,
    Row,
    holdout_size,
    keys_of,
    split,
)


def rows(count: int, seed: int = 1, label: str | None = None) -> list[Row]:
    drawn = random.Random(seed)
    return [Row(drawn.getrandbits(64), drawn.getrandbits(64), label) for _ in range(count)]


def held(sides: list[str]) -> int:
    return sides.count("holdout")


@pytest.mark.parametrize(
    ("count", "size"),
    [(2, 0), (MIN_ROWS - 1, 0), (MIN_ROWS, 4), (50, MIN_HOLDOUT), (300, 30), (90_000, MAX_HOLDOUT)],
)
def test_a_tenth_is_held_out_with_a_minimum_and_a_cap(count: int, size: int) -> None:
    assert holdout_size(count, 0.1) == size
    assert holdout_size(count, 0.0) == 0
    if count < 1000:
        assert held(list(split(rows(count), {}, 0.1))) == size


def test_what_was_placed_once_stays_where_it_is() -> None:
    old = rows(100)
    sides = split(old, {}, 0.1)
    known = dict(zip(keys_of(old), sides, strict=True))
    more = old + rows(400, seed=2)
    again = split(more, known, 0.1)
    assert again[:100] == sides
    assert held(list(again)) == 50


def test_one_new_row_keeps_the_old_hold_out() -> None:
    old = rows(60)
    sides = split(old, {}, 0.1)
    known = dict(zip(keys_of(old), sides, strict=True))
    assert split(old + rows(1, seed=3), known, 0.1)[:60] == sides


def test_rows_of_one_question_stay_together() -> None:
    many = [row for row in rows(100) for _ in range(2)]
    sides = split(many, {}, 0.1)
    assert held(list(sides)) == 20
    assert all(sides[i] == sides[i + 1] for i in range(0, 200, 2))


@pytest.mark.parametrize("alike", [54, 60])
def test_chats_that_open_alike_are_told_apart_by_the_whole_conversation(alike: int) -> None:
    found = rows(60)
    found = [Row(7, row.conversation) if i < alike else row for i, row in enumerate(found)]
    assert held(list(split(found, {}, 0.1))) == MIN_HOLDOUT


def test_the_last_row_of_a_label_is_trained_on() -> None:
    for seed in range(20):
        common = rows(58, seed, "common")
        rare = [Row(0, 0, "rare"), Row(1, 1, "other")]  # The lowest keys are drawn first.
        sides = split(rare + common, {}, 0.1)
        assert sides[:2] == ["train", "train"]


def test_two_rows_of_a_label_in_one_group_are_not_both_lost() -> None:
    found = [Row(0, 0, "rare"), Row(0, 1, "rare"), *rows(58, 1, "common")]
    assert split(found, {}, 0.1)[:2] == ["train", "train"]


def test_the_order_of_rows_does_not_matter() -> None:
    found = rows(80)
    shuffled = found[::-1]
    one = dict(zip(found, split(found, {}, 0.1), strict=True))
    assert dict(zip(shuffled, split(shuffled, {}, 0.1), strict=True)) == one
    assert Counter(one.values())["holdout"] == MIN_HOLDOUT


def test_what_was_placed_by_its_conversation_stays_when_its_opening_is_rare_later() -> None:
    chats = [Row(7, row.conversation) for row in rows(30)]
    keys = keys_of(chats)
    sides = split(chats, {}, 0.2)
    known = dict(zip(keys, sides, strict=True))
    assert {"train", "holdout"} == set(sides)
    later = chats + rows(500, seed=2)
    assert split(later, known, 0.1)[:30] == sides
