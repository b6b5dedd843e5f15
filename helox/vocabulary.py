"""Random words that look like those of a language: pieces of a tokenizer's words, put together."""

from __future__ import annotations

import random
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE_MARKS = " Ġ▁"  # before a word, in byte-level and SentencePiece vocabularies


class Vocabulary:
    """The pieces of words that a tokenizer knows, by script, case and length."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = set(tokenizer.get_added_tokens_decoder())
        self._starts = _Pieces()
        self._parts = _Pieces()
        for text, token in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
            if token in added:
                continue
            piece = tokenizer.decode([token], skip_special_tokens=False).strip(SPACE_MARKS)
            if is_word(piece):
                (self._starts if text[0] in SPACE_MARKS else self._parts).add(piece)

    def other(self, word: str, rng: random.Random) -> str:
        """A random word in the script and case of `word`, of pieces that are as long as its own.

        `word` itself where the vocabulary has no such pieces.
        """
        script, case = _script(word), _case(word)
        first, *lengths = self._lengths(word)
        start = self._starts.any(script, case, first, rng)
        if start is None:
            start = self._parts.any(script, case, first, rng)
        inner = "upper" if case == "upper" else "lower"
        rest = [self._parts.any(script, inner, length, rng) for length in lengths]
        if start is None or None in rest:
            return word
        return in_case_of(word, "".join([start, *(piece for piece in rest if piece)]))

    def _lengths(self, word: str) -> list[int]:
        """Letters of each token of a word."""
        offsets = self._tokenizer.encode(f" {word}", add_special_tokens=False).offsets
        lengths = [end - max(start, 1) for start, end in offsets if end > max(start, 1)]
        return lengths if sum(lengths) == len(word) else [len(word)]


class _Pieces:
    """Pieces to choose from."""

    def __init__(self) -> None:
        self._by_form: dict[tuple[str, str], dict[int, list[str]]] = {}

    def add(self, piece: str) -> None:
        # A single capital may begin a word in Title case, or stand in one in UPPER case.
        cases = ("title", "upper") if len(piece) == 1 and piece.isupper() else (_case(piece),)
        for case in cases:
            lengths = self._by_form.setdefault((_script(piece), case), defaultdict(list))
            lengths[len(piece)].append(piece)

    def any(self, script: str, case: str, length: int, rng: random.Random) -> str | None:
        """A random piece of the length that is nearest to `length`, the shorter of two."""
        lengths = self._by_form.get((script, case))
        if not lengths:
            return None
        return rng.choice(lengths[min(lengths, key=lambda found: (abs(found - length), found))])


def is_word(text: str) -> bool:
    return bool(text) and all(unicodedata.category(c)[0] in "LM" for c in text)


def in_case_of(model: str, word: str) -> str:
    """`word` in the case of `model`: lower, UPPER or Title."""
    if _case(model) == "upper":
        return word.upper()
    return word[0].upper() + word[1:].lower() if _case(model) == "title" else word.lower()


def _case(word: str) -> str:
    if word.isupper() and len(word) > 1:
        return "upper"
    return "title" if word[0].isupper() else "lower"


def _script(word: str) -> str:
    """LATIN, CYRILLIC, …: the first word of a character's name."""
    return unicodedata.name(word[0], "").partition(" ")[0]
