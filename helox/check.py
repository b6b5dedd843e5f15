"""Reads training data row by row and says everything that is wrong with it, before any compute.

    report = check_lines(open("train.jsonl", "rb"))
    for problem in report.problems: print(problem.line, problem.field, problem.message)

With an `Encoder` it also counts tokens and finds the examples that are cut short or have nothing to
learn from. Pure: no torch, no transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from helox.control import ControlTokens, Found, control_of, without_control
from helox.errors import LineError, Problem
from helox.forms import Conversation, Form, content_of, read_row
from helox.forms.values import is_blank
from helox.json_text import refuse_constant, unique_keys
from helox.mask import Encoder, Example
from helox.nesting import TOO_DEEP, is_too_deep
from helox.report import MAX_PROBLEMS_TO_JSON, Report
from helox.sources import MAX_LINE_BYTES, Numbered, Row

__all__ = [
    "MAX_LINE_BYTES",
    "MAX_PROBLEMS_TO_JSON",
    "Record",
    "Report",
    "check_lines",
    "parse_row",
    "read_conversation",
    "read_numbered",
    "read_records",
]

NO_CONTROL = ControlTokens()


@dataclass(frozen=True)
class Record:
    """One usable line: its number from 1, its JSON, and what it says."""

    line: int
    raw: Mapping[str, Any]
    conversation: Conversation
    examples: tuple[Example, ...] = ()


def check_lines(
    lines: Iterable[Row], encoder: Encoder | None = None, control: ControlTokens = NO_CONTROL
) -> Report:
    """Checks JSONL text, bytes or parsed objects; blank lines are skipped but numbered."""
    report = Report()
    for _ in read_records(lines, report, encoder, control):
        pass
    return report


def read_records(
    lines: Iterable[Row],
    report: Report,
    encoder: Encoder | None = None,
    control: ControlTokens = NO_CONTROL,
) -> Iterator[Record]:
    """`read_numbered` of lines that follow each other."""
    return read_numbered(enumerate(lines, start=1), report, encoder, control)


def read_numbered(
    rows: Iterable[Numbered],
    report: Report,
    encoder: Encoder | None = None,
    control: ControlTokens = NO_CONTROL,
) -> Iterator[Record]:
    """Yields every usable row and writes what it finds into `report`.

    control: the base's tokens; those of the encoder's template if there is an encoder.
    """
    if encoder is not None:
        control = control_of(encoder.template.control_tokens)
        report.tokenised = True
    for number, line in rows:
        if isinstance(line, (str, bytes)) and not line.strip():
            continue
        report.lines += 1
        try:
            raw = parse_row(line)
            if is_too_deep(raw):
                raise LineError("line", TOO_DEEP)
            form, conversation, found, read = _read(raw, control)
            examples = tuple(encoder.encode(conversation, number)) if encoder else ()
        except LineError as error:
            report.problems.append(Problem(error.message, field=error.field, line=number))
            continue
        report.examples += 1
        report.forms[form.name] += 1
        report.ignored_fields.update(read.keys() - form.fields)
        _count(report, number, conversation, found)
        _count_tokens(report, examples, number)
        yield Record(number, raw, conversation, examples)


def read_conversation(raw: Any, control: ControlTokens = NO_CONTROL) -> Conversation:
    """A row as it is trained on. Raises `LineError`."""
    return _read(raw, control)[1]


def _read(raw: Any, control: ControlTokens) -> tuple[Form, Conversation, Found, Mapping[str, Any]]:
    form, said, row = read_row(raw)
    _refuse_unwritable(raw, said)
    conversation, found = without_control(said, control)
    if found.stripped:
        for i, message in enumerate(conversation.messages):
            learned = message["role"] == "assistant" and "tool_calls" not in message
            if learned and is_blank(message["content"]):
                where = form.answers[0] if form.answers else f"{form.name}[{i}].content"
                raise LineError(where, "holds nothing but control tokens")
    return form, conversation, found, row


def parse_row(line: Row) -> Mapping[str, Any]:
    """The JSON object of a row. Raises `LineError`."""
    if isinstance(line, LineError):
        raise line
    if isinstance(line, Mapping):
        return line
    if len(line) > MAX_LINE_BYTES:
        raise LineError("line", f"is longer than the limit of {MAX_LINE_BYTES} bytes")
    try:
        text = line.decode("utf-8-sig") if isinstance(line, bytes) else line.removeprefix("\ufeff")
        value = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=unique_keys)
    except UnicodeDecodeError as error:
        raise LineError("line", f"is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise LineError("line", TOO_DEEP) from error
    except ValueError as error:
        raise LineError("line", f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise LineError("line", "must be a JSON object")
    return value


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


def _count(report: Report, line: int, conversation: Conversation, found: Found) -> None:
    report.repeats.add(line, conversation)
    report.labels.add(conversation.messages[-1]["content"])
    report.separators.add(conversation)
    report.count_control(line, found)
    answers = [m for m in conversation.messages if m["role"] == "assistant"]
    if all(answer.get("weight", 1) == 0 for answer in answers):
        report.unweighted.append(line)
    for note in conversation.notes:
        if note.kind == "ending":
            report.endings.append(line)
        report.warn(line, note.field, note.message)


def _count_tokens(report: Report, examples: Iterable[Example], line: int) -> None:
    for example in examples:
        report.tokens += len(example.ids)
        report.trained_tokens += example.trained_tokens
        report.longest = max(report.longest, example.full_length)
        if example.truncated:
            report.truncated.append(line)
        if example.trained_tokens == 0:
            report.fully_masked.append(line)
