"""Running English text."""

from __future__ import annotations

import random

from base_model.diet.example import Example, text

# Shares by package: most of plain English, less of manuals and dictionaries.
SHARES = {
    "fortunes": 5,
    "gnucash-docs": 3,
    "homebank-data": 0.5,
    "gnome-user-docs": 3,
    "debian-faq": 1,
    "debian-handbook": 3,
    "debian-reference-en": 0.5,
    "developers-reference": 1,
    "python3.11-doc": 1.5,
    "postgresql-doc-15": 1,
    "git-doc": 1,
    "libreoffice-help-en-us": 2,
    "dict-gcide": 2,
    "dict-foldoc": 1,
    "dict-jargon": 2,
    "dict-devil": 0.7,
}


class Prose:
    """Paragraphs of the corpus, packages drawn by `SHARES`."""

    def __init__(self, corpus: dict[str, list[str]]) -> None:
        self._names = [n for n in SHARES if corpus.get(n)]
        self._shares = [SHARES[n] for n in self._names]
        self._corpus = corpus

    def __call__(self, rng: random.Random) -> Example:
        (name,) = rng.choices(self._names, self._shares)
        return text(rng.choice(self._corpus[name]))
