"""Questions that are almost the same: MinHash over their pairs of words, by `datasketch`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

MAX_QUESTIONS = 20_000  # distinct ones that are compared; a minute's work
MAX_PAIRS = 200
MAX_SHOWN = 120  # characters of a question
MAX_WORDS = 400
ALIKE = 0.8  # share of common pairs of words, from which two questions are almost the same
PERMUTATIONS = 64
SEED = 1
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class NearPair:
    """Two lines whose questions are almost the same. crosses: one is held out, one trained on."""

    lines: tuple[int, int]
    similarity: float
    questions: tuple[str, str]
    crosses: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "lines": list(self.lines),
            "similarity": round(self.similarity, 3),
            "questions": list(self.questions),
            "across_the_split": self.crosses,
        }


@dataclass
class Near:
    """rows: that are almost the same as an earlier one; leaking: those of them across the split."""

    compared: int
    asked: int
    rows: int
    leaking: int
    pairs: list[NearPair]

    def to_json(self) -> dict[str, Any]:
        return {
            "compared": self.compared,
            "questions": self.asked,
            "rows": self.rows,
            "pairs": [pair.to_json() for pair in self.pairs],
        }


def find_near(questions: list[tuple[int, str]], held_out: set[int]) -> Near | None:
    """questions: line and text, each text once. None where `datasketch` is not installed."""
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        return None
    index = MinHashLSH(threshold=ALIKE, num_perm=PERMUTATIONS)
    shingles: dict[int, frozenset[str]] = {}
    texts: dict[int, str] = {}
    found = Near(0, len(questions), 0, 0, [])
    for line, text in questions[:MAX_QUESTIONS]:
        pairs = _shingles(text)
        if not pairs:
            continue
        found.compared += 1
        sketch = MinHash(num_perm=PERMUTATIONS, seed=SEED)
        sketch.update_batch([pair.encode() for pair in sorted(pairs)])
        near = [(_jaccard(pairs, shingles[other]), other) for other in index.query(sketch)]
        near = sorted((pair for pair in near if pair[0] >= ALIKE), reverse=True)
        if near:
            found.rows += 1
            crossing = [pair for pair in near if (pair[1] in held_out) != (line in held_out)]
            found.leaking += bool(crossing)
            similarity, other = (crossing or near)[0]
            if len(found.pairs) < MAX_PAIRS:
                shown = (texts[other][:MAX_SHOWN], text[:MAX_SHOWN])
                found.pairs.append(NearPair((other, line), similarity, shown, bool(crossing)))
        index.insert(line, sketch)
        shingles[line], texts[line] = pairs, text[:MAX_SHOWN]
    return found


def _shingles(text: str) -> frozenset[str]:
    words = WORD.findall(text.casefold())[:MAX_WORDS]
    return frozenset(map(" ".join, pairwise(words))) or frozenset(words)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
