"""What a form of a row is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from helox.forms.conversation import Conversation, Question
from helox.forms.values import Row

# Any form's question may come with these.
COMMON = ("system", "tools", "functions", "parallel_tool_calls", "function_call", "tool_choice")


@dataclass(frozen=True)
class Form:
    """One accepted form of a row.

    asks: keys that its question must have; optional: those that it may have.
    answers: keys that only a training line has.
    """

    name: str
    asks: tuple[str, ...]
    answers: tuple[str, ...]
    optional: tuple[str, ...]
    question: Callable[[Row], Question]
    conversation: Callable[[Row], Conversation]

    @property
    def required(self) -> tuple[str, ...]:
        return self.asks + self.answers

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(self.asks + self.answers + self.optional)

    def may_ask(self, keys: set[str]) -> bool:
        """Whether these keys are a question of this form and nothing else."""
        return set(self.asks) <= keys <= {*self.asks, *self.optional}
