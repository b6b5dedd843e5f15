"""Word meanings: definitions, synonyms, kinds and examples from WordNet."""

from __future__ import annotations

import random

from base_model.diet.example import Example, ask
from base_model.wordnet import Synset

_TO_WORD = (
    "Which word means: {}?",
    "Word for: {}",
    'What is the word for "{}"?',
    "{}\nWhich word is this?",
    "Name it: {}",
)
_TO_GLOSS = (
    'What does "{}" mean?',
    "Define {}.",
    "Meaning of {}?",
    "Explain the word {}.",
    "{}: definition",
)
_SYNONYM = (
    "Another word for {}?",
    "Give a synonym of {}.",
    'What is a synonym for "{}"?',
    "Say {} in another word.",
)
_EXAMPLE = (
    'Use "{}" in a sentence.',
    "Give an example with {}.",
    "Write a sentence with the word {}.",
)


class Glosses:
    """Questions and answers about one synset."""

    def __init__(self, synsets: list[Synset]) -> None:
        self._all = synsets
        self._with_examples = [s for s in synsets if s.examples]
        self._with_synonyms = [s for s in synsets if len(s.words) > 1]

    def __call__(self, rng: random.Random) -> Example:
        kind = rng.random()
        if kind < 0.3:
            synset = rng.choice(self._with_examples)
            return ask(rng.choice(_TO_GLOSS).format(rng.choice(synset.words)), synset.definition)
        if kind < 0.5:
            synset = rng.choice(self._with_examples)
            return ask(rng.choice(_TO_WORD).format(synset.definition), synset.words[0])
        if kind < 0.65:
            synset = rng.choice(self._with_synonyms)
            one, other = rng.sample(synset.words, 2)
            return ask(rng.choice(_SYNONYM).format(one), other)
        synset = rng.choice(self._with_examples)
        return ask(rng.choice(_EXAMPLE).format(synset.words[0]), rng.choice(synset.examples))
