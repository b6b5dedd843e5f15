"""Reads WordNet's synsets from the files of Debian's wordnet-base package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_EXAMPLE = re.compile(r'"([^"]+)"')
_LEXICAL_FILES = {
    4: "act",
    5: "animal",
    6: "object",
    8: "body",
    13: "food",
    15: "place",
    17: "nature",
    18: "person",
    20: "plant",
    21: "money",
    27: "substance",
    28: "time",
    14: "group",
    26: "state",
    12: "feeling",
    10: "speech",
    19: "event",
    22: "process",
    23: "amount",
    25: "shape",
}


@dataclass(frozen=True)
class Synset:
    """One meaning: its words, definition, example sentences; `topic` names a noun's broad class."""

    words: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    topic: str | None


def load(root: Path) -> list[Synset]:
    """All synsets of the package unpacked at `root`, without proper names."""
    synsets: list[Synset] = []
    for part in ("noun", "verb", "adj", "adv"):
        for line in (root / f"usr/share/wordnet/data.{part}").read_text("utf-8").splitlines():
            if line.startswith("  ") or "|" not in line:
                continue
            data, gloss = line.split("|", 1)
            fields = data.split()
            count = int(fields[3], 16)
            words = tuple(
                re.sub(r"\(.*\)", "", w).replace("_", " ") for w in fields[4 : 4 + 2 * count : 2]
            )
            if words[0][0].isupper() or words[0][0].isdigit():
                continue
            examples = tuple(e.strip() for e in _EXAMPLE.findall(gloss) if " " in e.strip())
            definition = gloss.split('"')[0].strip(" ;")
            topic = _LEXICAL_FILES.get(int(fields[1])) if part == "noun" else None
            synsets.append(Synset(words, definition, examples, topic))
    return synsets
