"""What the scheduler hands to the runner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cyrex.engine.row import Row


@dataclass(slots=True)
class Step:
    """What runs next: rows that decode a token, and rows that read so many tokens of prompt."""

    decoding: list[Row]
    prompts: list[tuple[Row, int]]

    @property
    def rows(self) -> list[Row]:
        return [*self.decoding, *(row for row, _ in self.prompts)]

    def parts(self) -> Iterator[Step]:
        """Each row alone."""
        for row in self.decoding:
            yield Step([row], [])
        for prompt in self.prompts:
            yield Step([], [prompt])
