"""Examples made anew in every epoch, so that a few hundred of them teach more.

Two changes, both by chance and both to words that need not be known:
    - Noise: words of a prompt that its answer does not repeat give way to random ones. Frames that
      are seen hundreds of times are no longer learned by heart.
    - Variation: words that an answer copies from its prompt give way to random ones, in both. What
      is copied can only be copied, for it has never been seen.

Variation leaves alone what an answer does not copy but chooses: an answer that another example has
too (a label), and words of more than a twentieth of the answers (the keys of a JSON object, the
names of tools). Digits and punctuation stay as they are. The draws depend on seed, epoch and step
alone, so that resuming needs no state.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from helox.mask import Example
from helox.spec import Amounts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A word or a part of one, as byte-level and SentencePiece vocabularies write it: the mark of a
# space before it, and its letters.
WORD = re.compile(r"([Ġ▁ ]?)([^\W\d_]+)")
COMMON_SHARE = 20  # a word of more than one in so many answers is part of their form


class Vocabulary:
    """The tokens that text is made of, and among them the words, by their form."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        added = set(tokenizer.get_added_tokens_decoder())
        tokens = sorted((i, s) for s, i in tokenizer.get_vocab().items() if i not in added)
        self.ordinary = frozenset(i for i, _ in tokens)
        self.form_of: dict[int, tuple[bool, str]] = {}
        self.by_form: dict[tuple[bool, str], list[int]] = defaultdict(list)
        for token, text in tokens:
            found = WORD.fullmatch(text)
            if found is not None:
                form = (bool(found[1]), _letters(found[2]))
                self.form_of[token] = form
                self.by_form[form].append(token)
        self.words = list(self.form_of)


def _letters(word: str) -> str:
    if word.isupper():
        return "upper"
    return "title" if word[0].isupper() else "lower"


class Augmenter:
    """Makes the examples of a step anew."""

    def __init__(
        self, examples: Sequence[Example], vocabulary: Vocabulary, amounts: Amounts, seed: int
    ) -> None:
        self._vocabulary = vocabulary
        self._amounts = amounts
        self._seed = seed
        self._labels = _repeated(_answer_of(example) for example in examples)
        counts = Counter(token for example in examples for token in set(_answer_of(example)))
        self._common = {t for t, n in counts.items() if n * COMMON_SHARE > len(examples)}

    def __call__(self, examples: Sequence[Example], *, epoch: int, step: int) -> list[Example]:
        """`step` is counted from the epoch's beginning."""
        if not (self._amounts.noise or self._amounts.variation):
            return list(examples)
        rng = random.Random(f"augment:{self._seed}:{epoch}:{step}")
        return [self._varied(self._noisy(example, rng), rng) for example in examples]

    def _noisy(self, example: Example, rng: random.Random) -> Example:
        answer = set(_answer_of(example))
        words, ordinary = self._vocabulary.words, self._vocabulary.ordinary
        ids = list(example.ids)
        for i, token in enumerate(ids):
            spared = example.trained[i] or token in answer or token not in ordinary
            if not spared and words and rng.random() < self._amounts.noise:
                ids[i] = rng.choice(words)
        return _with_ids(example, ids)

    def _varied(self, example: Example, rng: random.Random) -> Example:
        answer = _answer_of(example)
        if rng.random() >= self._amounts.variation or answer in self._labels:
            return example
        prompt = {token for token, t in zip(example.ids, example.trained, strict=True) if not t}
        copied = (set(answer) & prompt) - self._common
        other = self._others(sorted(copied), rng)
        return _with_ids(example, [other.get(token, token) for token in example.ids])

    def _others(self, tokens: Iterable[int], rng: random.Random) -> dict[int, int]:
        """For each word a random one of the same form."""
        form_of, by_form = self._vocabulary.form_of, self._vocabulary.by_form
        return {t: rng.choice(by_form[form_of[t]]) for t in tokens if t in form_of}


def _answer_of(example: Example) -> tuple[int, ...]:
    return tuple(t for t, trained in zip(example.ids, example.trained, strict=True) if trained)


def _repeated(answers: Iterable[tuple[int, ...]]) -> Collection[tuple[int, ...]]:
    return {answer for answer, count in Counter(answers).items() if count > 1}


def _with_ids(example: Example, ids: Sequence[int]) -> Example:
    return Example(tuple(ids), example.trained, example.line, example.full_length)
