"""The sections of `benchmarks.engine`: each returns its keys of the last line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engine import fairness as engine_fairness
from benchmarks.engine import grammar as engine_grammar
from benchmarks.engine import loading as engine_loading
from benchmarks.engine import mixed as engine_mixed
from benchmarks.engine import rivals as engine_rivals
from benchmarks.engine import stack as engine_stack
from benchmarks.engine.models import LARGE, SMALL, Model, Shape, write

Found = dict[str, Any]


class Sections:
    """All sections. A model is written to disk when a section first needs it."""

    def __init__(self, folder: Path, is_full: bool) -> None:
        self.is_full = is_full
        self._folder = folder
        self._models: dict[str, Model] = {}

    @property
    def small(self) -> Model:
        return self._model(SMALL)

    @property
    def large(self) -> Model:
        return self._model(LARGE)

    def mixed(self) -> Found:
        found = [engine_mixed.measure(model, self.is_full) for model in (self.small, self.large)]
        small, large = found
        return {
            key: {"small": small[key]} | ({"large": large[key]} if key in large else {})
            for key in small
        }

    def too_many(self) -> Found:
        return engine_mixed.too_many(self.small, self.is_full)

    def peft(self) -> Found:
        found = engine_rivals.mixed(self.small, self.is_full)
        by_size = {"small": found["mixed_over_peft"]}
        if self.is_full:
            by_size["large"] = engine_rivals.mixed(self.large, self.is_full)["mixed_over_peft"]
        return found | {"mixed_over_peft": by_size}

    def batching(self) -> Found:
        return engine_rivals.batching(self.small, self.is_full)

    def grammar(self) -> Found:
        models = (self.small, self.large) if self.is_full else (self.small,)
        overhead = {m.shape.name: engine_grammar.overhead(m, self.is_full) for m in models}
        return {"grammar_overhead": overhead}

    def loading(self) -> Found:
        return engine_loading.measure(self.large, self._folder, self.is_full)

    def fairness(self) -> Found:
        return engine_fairness.measure(self.small, self.is_full)

    def stack(self) -> Found:
        return engine_stack.measure()

    def by_name(self) -> dict[str, Callable[[], Found]]:
        return {
            "mixed": self.mixed,
            "too_many": self.too_many,
            "peft": self.peft,
            "batching": self.batching,
            "grammar": self.grammar,
            "loading": self.loading,
            "fairness": self.fairness,
            "stack": self.stack,
        }

    def _model(self, shape: Shape) -> Model:
        if shape.name not in self._models:
            self._models[shape.name] = write(shape, self._folder)
        return self._models[shape.name]
