"""The three sides of the examples: training, development (to tune on), held out (to test on).

Use training and development while you change something. The held-out side was written before any
result on it was known, and is for the final measurement alone.
"""

from __future__ import annotations

TRAIN, DEVELOPMENT, HELD_OUT = SIDES = ("train", "development", "held out")

Sided = dict[str, list[str]]


def listed(text: str) -> list[str]:
    return text.split()


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]
