"""The three sides of the examples: what is trained on, what is tuned on, what is asked in the end.

Training and development may be looked at while something is changed. The held-out side was written
before any result of it was known, and is for the last measurement alone.
"""

from __future__ import annotations

TRAIN, DEVELOPMENT, HELD_OUT = SIDES = ("train", "development", "held out")

Sided = dict[str, list[str]]


def listed(text: str) -> list[str]:
    return text.split()


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]
