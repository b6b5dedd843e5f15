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
    """The pieces of words that a tokenizer knows, by script and case."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = set(tokenizer.get_added_tokens_decoder())
        self._starts: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._parts: dict[tuple[str, str], list[str]] = defaultdict(list)
        for text, token in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
            if token in added:
                continue
            piece = tokenizer.decode([token], skip_special_tokens=False).strip(SPACE_MARKS)
            if is_word(piece):
                side = self._starts if text[0] in SPACE_MARKS else self._parts
                side[_script(piece), _case(piece)].append(piece)

    def other(self, word: str, rng: random.Random) -> str:
        """A random word in the script and case of `word`, of about as many tokens."""
        script, case = _script(word), _case(word)
        starts = self._starts[script, case] or self._parts[script, case]
        rest = self._parts[script, "upper" if case == "upper" else "lower"]
        if not starts:
            return word
        count = len(self._tokenizer.encode(f" {word}", add_special_tokens=False).ids)
        pieces = [rng.choice(starts)]
        pieces += [rng.choice(rest) for _ in range(count - 1) if rest]
        return in_case_of(word, "".join(pieces))


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
