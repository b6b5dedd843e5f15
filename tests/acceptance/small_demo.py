"""The demo with fewer examples, and a place to interfere with it."""

from __future__ import annotations

from collections.abc import Callable

from demo.client import Api
from demo.main_job import Demo, DemoCompany

EXAMPLES = 160
QUESTIONS = 16
EPOCHS = 3

Table = dict[str, dict[str, float]]


class SmallDemo(Demo):
    """Calls `interfere(phase)` once while it trains and once while it asks."""

    def __init__(self, operator: Api, interfere: Callable[[str], None] | None = None) -> None:
        super().__init__(operator, EXAMPLES, QUESTIONS, EPOCHS)
        self._interfere = interfere
        self._done: set[str] = set()

    def say(self, text: str) -> None:
        super().say(text)
        if ", loss " in text:
            self._once("training")

    def accuracy(self, labels: DemoCompany, answers: DemoCompany, use_adapter: bool) -> float:
        found = super().accuracy(labels, answers, use_adapter)
        self._once("asking")
        return found

    def _once(self, phase: str) -> None:
        if self._interfere is not None and phase not in self._done:
            self._done.add(phase)
            self._interfere(phase)

    @property
    def phases(self) -> set[str]:
        """Where it was interfered with."""
        return self._done
