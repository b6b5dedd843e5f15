"""Which of a company's rows are held out, over all of its trainings.

A question that was once held out stays so, and one that was trained on is never held out later: no
adapter is scored on a row that it, or the champion, has seen. New questions are drawn by their
hash, so the same data are split alike wherever they are sent. Rows that share a question stay
together; where one question makes up much of the data (chats that all open alike), its rows are
told apart by the whole conversation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cyrex.adapters.metrics import metric_of
from helox.holdout import conversation_key_of, key_of
from helox.render import Conversation

Side = Literal["train", "holdout"]

# Of fewer rows none is held out: each is needed to learn from.
MIN_ROWS = 20
# Held out at least, where that is at most a fifth of the rows; at most, whatever the share.
MIN_HOLDOUT = 10
MAX_HOLDOUT = 500
LARGEST_MINIMUM_SHARE = 0.2
# A question that is a larger share of the rows is no group of its own.
MAX_GROUP_SHARE = 0.1


@dataclass(frozen=True)
class Row:
    """A row to place. Keys are hashes: of the question, of the whole conversation.

    label: its answer, where answers are labels; the last row of a label is never held out.
    """

    question: int
    conversation: int
    label: str | None = None


def rows_of(conversations: Sequence[Conversation]) -> list[Row]:
    """What the split must know of what rows say."""
    answers = [conversation.messages[-1]["content"] for conversation in conversations]
    are_labels = metric_of(answers) == "label"
    return [
        Row(key_of(c), conversation_key_of(c), answer.strip() if are_labels else None)
        for c, answer in zip(conversations, answers, strict=True)
    ]


def keys_of(rows: Sequence[Row]) -> list[int]:
    """The key by which each row is grouped."""
    largest = MAX_GROUP_SHARE * len(rows)
    common = {
        key for key, n in Counter(row.question for row in rows).items() if n > max(largest, 1)
    }
    return [row.conversation if row.question in common else row.question for row in rows]


def holdout_size(rows: int, fraction: float) -> int:
    """How many of so many rows are to be held out. fraction 0: none."""
    if rows < MIN_ROWS or fraction <= 0:
        return 0
    least = min(MIN_HOLDOUT, int(LARGEST_MINIMUM_SHARE * rows))
    return min(max(round(fraction * rows), least), MAX_HOLDOUT)


def split(rows: Sequence[Row], known: Mapping[int, Side], fraction: float) -> list[Side]:
    """The side of each row.

    known: the side of every key that the company's earlier trainings placed.
    """
    keys = keys_of(rows)
    sides: dict[int, Side] = {key: known[key] for key in keys if key in known}
    sizes = Counter(keys)
    wanted = holdout_size(len(rows), fraction)
    left = wanted - sum(sizes[key] for key, side in sides.items() if side == "holdout")
    labels = _labels(rows, keys)
    # Rows of each label that stay in training, as long as nothing more is held out.
    staying = Counter(
        row.label for row, key in zip(rows, keys, strict=True) if sides.get(key) != "holdout"
    )
    for key in sorted(set(keys) - sides.keys()):
        taken = labels[key]
        empties = any(label is not None and staying[label] <= n for label, n in taken.items())
        if sizes[key] <= left and not empties:
            sides[key] = "holdout"
            left -= sizes[key]
            staying -= taken
        else:
            sides[key] = "train"
    return [sides[key] for key in keys]


def _labels(rows: Sequence[Row], keys: Sequence[int]) -> dict[int, Counter[str | None]]:
    """How many rows of each label every group has."""
    found: dict[int, Counter[str | None]] = {}
    for row, key in zip(rows, keys, strict=True):
        found.setdefault(key, Counter())[row.label] += 1
    return found
