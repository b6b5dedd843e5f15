"""Reads training data line by line and says everything that is wrong with it, before any compute.

    report = check_lines(open("train.jsonl", "rb"))
    for problem in report.problems: print(problem.line, problem.field, problem.message)

With an `Encoder` it also counts tokens and finds the examples that are cut short or have nothing to
learn from. Pure: no torch, no transformers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from helox.errors import LineError, Problem
from helox.holdout import key_of
from helox.mask import Encoder, Example
from helox.nesting import TOO_DEEP, is_too_deep
from helox.render import Conversation, content_of, fields_of, to_messages

MAX_LINE_BYTES = 4 << 20
MAX_PROBLEMS_TO_JSON = 1_000

Line = str | bytes | Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """One usable line: its number from 1, its JSON, and what it says."""

    line: int
    raw: Mapping[str, Any]
    conversation: Conversation
    examples: tuple[Example, ...] = ()


@dataclass
class Report:
    """What was found. Token figures stay 0 when no encoder was given."""

    lines: int = 0
    examples: int = 0
    problems: list[Problem] = field(default_factory=list)
    duplicates: int = 0  # lines that repeat an earlier line's input and answer
    contradictions: int = 0  # lines whose input an earlier line answers differently
    ignored_fields: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0  # tokens, before truncation
    truncated: list[int] = field(default_factory=list)  # line numbers
    fully_masked: list[int] = field(default_factory=list)  # line numbers: dropped from training

    @property
    def ok(self) -> bool:
        return self.examples > 0 and not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "lines": self.lines,
            "examples": self.examples,
            "duplicates": self.duplicates,
            "contradictions": self.contradictions,
            "ignored_fields": dict(sorted(self.ignored_fields.items())),
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "longest": self.longest,
            "truncated": self.truncated,
            "fully_masked": self.fully_masked,
            "problem_count": len(self.problems),
            "problems": [p.to_json() for p in self.problems[:MAX_PROBLEMS_TO_JSON]],
        }


def check_lines(lines: Iterable[Line], encoder: Encoder | None = None) -> Report:
    """Checks JSONL text, bytes or parsed objects; blank lines are skipped but numbered."""
    report = Report()
    for _ in read_records(lines, report, encoder):
        pass
    return report


def read_records(
    lines: Iterable[Line], report: Report, encoder: Encoder | None = None
) -> Iterator[Record]:
    """Yields every usable line and writes what it finds into `report`."""
    answers_of: dict[str, set[str]] = {}
    for number, line in enumerate(lines, start=1):
        if isinstance(line, (str, bytes)) and not line.strip():
            continue
        report.lines += 1
        try:
            raw = _parse(line)
            if is_too_deep(raw):
                raise LineError("line", TOO_DEEP)
            conversation = to_messages(raw)
            _refuse_unwritable(raw, conversation)
            examples = tuple(encoder.encode(conversation, number)) if encoder else ()
        except LineError as error:
            report.problems.append(Problem(error.message, field=error.field, line=number))
            continue
        report.examples += 1
        report.ignored_fields.update(set(raw) - fields_of(raw))
        _count_repeats(report, conversation, answers_of)
        _count_tokens(report, examples, number)
        yield Record(number, raw, conversation, examples)


def _parse(line: Line) -> Mapping[str, Any]:
    if isinstance(line, Mapping):
        return line
    if len(line) > MAX_LINE_BYTES:
        raise LineError("line", f"is longer than the limit of {MAX_LINE_BYTES} bytes")
    try:
        text = line.decode("utf-8-sig") if isinstance(line, bytes) else line.removeprefix("\ufeff")
        value = json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise LineError("line", f"is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise LineError("line", TOO_DEEP) from error
    except ValueError as error:
        raise LineError("line", f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise LineError("line", "must be a JSON object")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _refuse_unwritable(raw: Mapping[str, Any], conversation: Conversation) -> None:
    """JSON may escape half a character; such text has no UTF-8 form and no tokens. `1e999` is read
    as infinity, which JSON cannot write. Fields that nobody reads count: a held-out line is
    written down as it came."""
    try:
        content_of([dict(raw), conversation.messages, conversation.tools]).encode()
    except UnicodeEncodeError as error:
        raise LineError("line", "holds half a surrogate pair") from error
    except (TypeError, ValueError) as error:
        raise LineError("line", f"is not JSON: {error}") from error


def _count_repeats(
    report: Report, conversation: Conversation, answers_of: dict[str, set[str]]
) -> None:
    asked = f"{key_of(conversation)}:{content_of(list(conversation.messages[:-1]))}"
    answer = content_of(conversation.messages[-1])
    seen = answers_of.setdefault(asked, set())
    if answer in seen:
        report.duplicates += 1
    elif seen:
        report.contradictions += 1
    seen.add(answer)


def _count_tokens(report: Report, examples: Iterable[Example], line: int) -> None:
    for example in examples:
        report.tokens += len(example.ids)
        report.trained_tokens += example.trained_tokens
        report.longest = max(report.longest, example.full_length)
        if example.truncated:
            report.truncated.append(line)
        if example.trained_tokens == 0:
            report.fully_masked.append(line)
