"""Trains the tokenizer: `python -m base_model.vocabulary --out base_model/cyrex-small`.

The words of everyday and business English must be one token each, both after a space and without
one (a label or a key has no spaces), so words are counted separately and weighted by hand. The
vocabulary is fixed: after a change the weights must be trained again.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

from base_model import sources, tokenizer, wordnet
from base_model.diet import lexicon

MAX_SOURCE_CHARS = 2_500_000
# Manuals and dictionaries would fill the vocabulary with their own jargon.
SOURCE_CHARS = {
    "dict-gcide": 500_000,
    "postgresql-doc-15": 150_000,
    "python3.11-doc": 200_000,
    "git-doc": 80_000,
    "dict-foldoc": 100_000,
    "dict-jargon": 300_000,
    "debian-handbook": 300_000,
    "libreoffice-help-en-us": 300_000,
    "developers-reference": 100_000,
}
_KEY_WORDS = lexicon.listed("""
total due invoice vendor amount number date name id tool arguments key value true false null
string currency city field label answer category positive negative yes no
""")
_CAPITALISED = lexicon.listed("""
Invoice Total Due Date Amount Order Name The This What How Which Please Can Is Do My Why When
Where Answer Question Label
""")
_SEPARATORS = ((",", ":"), (", ", ": "))


def _running_text(
    corpus: dict[str, list[str]], synsets: list[wordnet.Synset], rng: random.Random
) -> list[str]:
    texts: list[str] = []
    for package, paragraphs in corpus.items():
        shuffled, size = list(paragraphs), 0
        rng.shuffle(shuffled)
        for paragraph in shuffled:
            texts.append(paragraph)
            size += len(paragraph)
            if size > SOURCE_CHARS.get(package, MAX_SOURCE_CHARS):
                break
    for synset in synsets:
        texts += [synset.definition, *synset.examples, *synset.examples]
        for word in synset.words[:2]:
            texts += [word, '"' + word.replace(" ", "_") + '"']
    return texts


def _single_words(texts: list[str], rng: random.Random) -> list[str]:
    """Words with and without a leading space, repeated by their weight."""
    counts = Counter(w for t in texts for w in re.findall(r"(?<= )[a-z]{2,}", t))
    everyday = set(lexicon.EVERYDAY)
    for word in everyday:
        counts[word] += 400
    for word in lexicon.POSITIVE + lexicon.NEGATIVE:
        counts[word] += 150
    words: list[str] = []
    for word, count in counts.items():
        words += [" " + word] * min(count // 8, 300) + [word] * min(count // 4, 300)
        if count > 200:
            words += [word.capitalize()] * min(count // 16, 60)
    for word in everyday:
        words += [" " + word] * 250 + [word] * 180
    for word in _KEY_WORDS:
        words += [" " + word, word] * 400
    words += _CAPITALISED * 300
    call = {
        "name": "tool",
        "arguments": {
            "number": "17",
            "date": "2024-01-02",
            "amount": 12.5,
            "list": ["x", "y"],
            "ok": True,
        },
    }
    words += [json.dumps(call, separators=rng.choice(_SEPARATORS)) for _ in range(6000)]
    return words


def training_texts(cache: Path) -> list[str]:
    """All training texts of the tokenizer, deterministic for the same packages."""
    rng = random.Random(0)
    texts = _running_text(sources.collect(cache), wordnet.load(sources.download(cache)), rng)
    return texts + _single_words(texts, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tokenizer of the small base model.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".data/base_model"))
    args = parser.parse_args()
    tokenizer.save(tokenizer.train(training_texts(args.cache)), args.out)


if __name__ == "__main__":
    main()
