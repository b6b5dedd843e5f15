"""The pretraining mixture: families of examples and their shares."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from base_model import sources, wordnet
from base_model.diet import (
    classify,
    dialogue,
    extraction,
    prose,
    repeats,
    rewriting,
    sentiment,
    toolcalls,
    words,
)
from base_model.diet.example import Example


@dataclass(frozen=True)
class Family:
    """A generator and its share of the drawn tokens (relative to the others')."""

    share: float
    generate: Callable[[random.Random], Example]


class Diet:
    """All families; `draw` picks one by share."""

    def __init__(self, families: dict[str, Family]) -> None:
        self.families = families
        self._names = list(families)
        self._shares = [f.share for f in families.values()]

    @classmethod
    def load(cls, cache: Path) -> Diet:
        """Reads corpus and WordNet under `cache` (downloads them the first time)."""
        corpus = sources.collect(cache)
        synsets = wordnet.load(cache / "root")
        sentences = [e for s in synsets for e in s.examples]
        fields = extraction.Extraction(extraction.Filler(sentences))
        labels = classify.Classification(synsets)
        return cls(
            {
                "prose": Family(6.0, prose.Prose(corpus)),
                "glosses": Family(2.5, words.Glosses(synsets)),
                "repeats": Family(1.0, repeats.token_repeat),
                "echo": Family(1.5, repeats.echo),
                "fields": Family(5.0, fields.asked),
                "shown": Family(1.5, fields.shown),
                "typed": Family(3.0, extraction.typed),
                "labels": Family(1.3, labels.shown),
                "mood": Family(10.0, sentiment.mood),
                "told": Family(3.0, labels.told),
                "kinds": Family(1.5, labels.kinds),
                "keywords": Family(0.7, labels.keyword_label),
                "best": Family(3.0, labels.best_label),
                "native": Family(0.5, toolcalls.native),
                "written": Family(2.0, toolcalls.written),
                "lists": Family(1.0, rewriting.lists),
                "words": Family(1.0, rewriting.words),
                "compare": Family(0.5, rewriting.compare),
                "memory": Family(1.0, dialogue.memory),
                "persona": Family(0.5, dialogue.persona),
            }
        )

    def draw(self, rng: random.Random) -> Example:
        (name,) = rng.choices(self._names, self._shares)
        return self.families[name].generate(rng)
