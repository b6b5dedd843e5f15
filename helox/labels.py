"""Answers that are labels: how often each is there, and which are one label spelled twice."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any

from helox.forms.values import INVISIBLE

MAX_LABEL_CHARACTERS = 100
MAX_LABELS = 200  # of more than that it is no set of labels
MAX_COUNTED = 20_000  # distinct short answers; behind that, new ones are not counted
_INVISIBLE = {ord(character): None for character in INVISIBLE}


class Labels:
    """Counts short answers as they come."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.answers = 0

    def add(self, answer: str) -> None:
        self.answers += 1
        known = answer in self.counts or len(self.counts) < MAX_COUNTED
        if known and answer and len(answer) <= MAX_LABEL_CHARACTERS:
            self.counts[answer] += 1

    @property
    def are_labels(self) -> bool:
        """Whether the answers are drawn from a small set: each twice on average, or more."""
        return (
            0 < len(self.counts) <= MAX_LABELS
            and self.counts.total() == self.answers
            and 2 * len(self.counts) <= self.answers
        )

    def variants(self) -> list[dict[str, int]]:
        """Answers that differ by white space, invisible characters or Unicode form alone."""
        groups: dict[str, dict[str, int]] = {}
        for answer, count in self.counts.items():
            groups.setdefault(_plain(answer), {})[answer] = count
        return [group for group in groups.values() if len(group) > 1]

    def to_json(self) -> list[dict[str, Any]] | None:
        if not self.are_labels:
            return None
        return [{"label": label, "count": count} for label, count in self.counts.most_common()]


def _plain(answer: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", answer).translate(_INVISIBLE).split())
