"""What was found in a dataset: every row that is dropped, cut, ignored or odd is counted here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from helox.control import Found
from helox.errors import Problem
from helox.labels import Labels
from helox.old_openai import Separators
from helox.repeats import Repeats

MAX_PROBLEMS_TO_JSON = 1_000
MAX_WARNINGS = 1_000
MAX_LINES_TO_JSON = 1_000


@dataclass
class Report:
    """Token figures stay 0 when no encoder was given. Lists are line numbers, from 1."""

    lines: int = 0
    examples: int = 0
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    warning_count: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    ignored_fields: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0  # tokens, before truncation
    truncated: list[int] = field(default_factory=list)
    fully_masked: list[int] = field(default_factory=list)  # dropped from training
    unweighted: list[int] = field(default_factory=list)  # every answer has weight 0
    endings: list[int] = field(default_factory=list)  # messages behind the last answer
    stripped: dict[str, list[int]] = field(default_factory=dict)  # control tokens of answers
    shown: dict[str, list[int]] = field(default_factory=dict)  # control tokens that are left
    held_out: int | None = None  # None before the split
    repeats: Repeats = field(default_factory=Repeats)
    labels: Labels = field(default_factory=Labels)
    tokenised: bool = False  # so that it is known which rows are cut, and which are dropped
    separators: Separators = field(default_factory=Separators)

    @property
    def ok(self) -> bool:
        return self.examples > 0 and not self.problems

    @property
    def duplicates(self) -> int:
        """Lines that repeat an earlier line's input and answer."""
        return len(self.repeats.duplicates)

    @property
    def contradictions(self) -> int:
        """Lines whose input an earlier line answers differently."""
        return len(self.repeats.contradictions)

    def warn(self, line: int, field: str, message: str) -> None:
        self.warning_count += 1
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(Problem(message, field=field, line=line))

    def count_control(self, line: int, found: Found) -> None:
        for tokens, lines in ((found.stripped, self.stripped), (found.shown, self.shown)):
            for token in tokens:
                lines.setdefault(token, []).append(line)

    @property
    def hints(self) -> list[str]:
        """What the whole of the rows says, in words."""
        hints = self.separators.hints()
        for variants in self.labels.variants():
            spelled = " and ".join(f"{label!r} ({n})" for label, n in sorted(variants.items()))
            hints.append(f"labels that differ by white space or Unicode form alone: {spelled}")
        return hints

    def counts(self) -> dict[str, Any]:
        """How many rows of each kind, for the people who sent them.

        `held_out` is null before the split, `cut` and `dropped` before the tokens are counted.
        """
        dropped = len(set(self.fully_masked) | set(self.unweighted))
        return {
            "rows": self.lines,
            "examples": self.examples,
            "forms": dict(self.forms.most_common()),
            "held_out": self.held_out,
            "dropped": dropped if self.tokenised else None,
            "cut": len(set(self.truncated)) if self.tokenised else None,
            "ignored_fields": dict(sorted(self.ignored_fields.items())),
            "ignored_endings": len(self.endings),
            "duplicates": self.duplicates,
            "contradictions": self.contradictions,
            "control_tokens": {token: len(lines) for token, lines in sorted(self.stripped.items())},
            "label_variants": len(self.labels.variants()),
            "warnings": self.warning_count,
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "lines": self.lines,
            "examples": self.examples,
            "forms": dict(self.forms.most_common()),
            "duplicates": self.duplicates,
            "duplicate_lines": self.repeats.duplicates[:MAX_LINES_TO_JSON],
            "contradictions": self.contradictions,
            "contradiction_pairs": [pair.to_json() for pair in self.repeats.pairs],
            "ignored_fields": dict(sorted(self.ignored_fields.items())),
            "ignored_endings": self.endings[:MAX_LINES_TO_JSON],
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "longest": self.longest,
            "truncated": self.truncated[:MAX_LINES_TO_JSON],
            "fully_masked": self.fully_masked[:MAX_LINES_TO_JSON],
            "unweighted": self.unweighted[:MAX_LINES_TO_JSON],
            "held_out": self.held_out,
            "labels": self.labels.to_json(),
            "label_variants": self.labels.variants(),
            "control_tokens": {
                "stripped": _by_token(self.stripped),
                "shown_as_text": _by_token(self.shown),
            },
            "hints": self.hints,
            "warning_count": self.warning_count,
            "warnings": [w.to_json() for w in self.warnings],
            "problem_count": len(self.problems),
            "problems": [p.to_json() for p in self.problems[:MAX_PROBLEMS_TO_JSON]],
        }


def _by_token(found: dict[str, list[int]]) -> dict[str, Any]:
    return {
        token: {"rows": len(lines), "lines": lines[:MAX_LINES_TO_JSON]}
        for token, lines in sorted(found.items())
    }
