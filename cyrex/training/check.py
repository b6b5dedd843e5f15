"""The settings and the examples of a training, checked before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cyrex.adapters.base_model import base_model_dir, served_control, served_facts
from cyrex.datasets import jsonl
from cyrex.errors import UserError
from cyrex.training.check_child import count_cut
from cyrex.training.split import Row, rows_of, split
from database.base import Json
from helox.check import MAX_LINE_BYTES, Report, read_records
from helox.config_check import check_settings
from helox.errors import Problem
from helox.spec import TrainingConfig
from settings import MIB, get_settings

SHOWN_LINES = 20
TEMPLATE_TOKENS = 128  # that a chat template may write around a row
MAX_COUNTED_BYTES = 8 * MIB  # of rows whose tokens are counted while their sender waits


@dataclass(frozen=True)
class CheckedRows:
    """Rows that can be trained on: as lines of JSON, written once, and what was found in them.

    The report counts no tokens yet.
    """

    lines: list[bytes]
    report: Report
    rows: Sequence[Row] = ()


def check_examples(lines: Sequence[Any]) -> CheckedRows:
    """Check rows that are to be trained on.

    Raises `UserError`, which names the line, the field or the limit.
    """
    check_size(lines)
    written = [_written(line, number) for number, line in enumerate(lines, 1)]
    report = Report()
    read = read_records(lines, report, control=served_control())
    rows = rows_of([record.conversation for record in read])
    if report.problems:
        raise bad_rows(report.problems)
    if len(report.unweighted) == report.examples:
        raise UserError(
            "nothing_to_learn",
            "training_data: every answer has weight 0: there is nothing to learn",
            "training_data",
        )
    return CheckedRows(written, report, rows)


def counts_of(checked: CheckedRows, config: Mapping[str, Any]) -> Json:
    """The counts of rows. Those that are cut are counted where a row is long enough for it: a
    token is a byte or more, so that a short row needs no tokenizer."""
    settings = TrainingConfig.model_validate(config)
    limit = settings.max_length - TEMPLATE_TOKENS
    # Of these rows alone: what the company sent before is read when the training is accepted.
    held_out = split(checked.rows, {}, settings.holdout_fraction).count("holdout")
    counts = {**checked.report.counts(), "held_out": held_out}
    if all(len(line) <= limit for line in checked.lines):
        return {**counts, "cut": 0, "dropped": len(checked.report.unweighted)}
    if served_facts() is None or sum(map(len, checked.lines)) > MAX_COUNTED_BYTES:
        return counts
    found = count_cut(b"".join(checked.lines), dict(config), base_model_dir())
    return counts if found is None else {**counts, "cut": found[0], "dropped": found[1]}


def check_size(lines: Sequence[Any]) -> None:
    """Raises `UserError` for no example, and for more than there may be."""
    limit = get_settings().max_training_examples
    if not lines:
        raise UserError("no_examples", "training_data: must hold an example", "training_data")
    if len(lines) > limit:
        raise UserError(
            "too_many_examples",
            f"training_data: {len(lines)} examples, the limit is {limit}",
            param="training_data",
        )


def bad_rows(problems: Sequence[Problem]) -> UserError:
    """Names the first of them, and lists the next."""
    first = problems[0]
    place = f"training_data[{(first.line or 1) - 1}]"
    if first.field and first.field != "line":
        place = f"{place}.{first.field}"
    return UserError(
        "invalid_training_data",
        f"{place}: {first.message} (line {first.line}; {len(problems)} bad lines in all)",
        param=place,
        details=[problem.to_json() for problem in problems[:SHOWN_LINES]],
    )


def _written(line: Any, number: int) -> bytes:
    """An example as a line of JSON. Raises `UserError` for what is no object or too long."""
    place = f"training_data[{number - 1}]"
    if not isinstance(line, Mapping):
        message = f"{place}: must be an object (line {number})"
        raise UserError("invalid_training_data", message, place)
    try:
        written = jsonl(line)
    except (ValueError, TypeError) as error:
        message = f"{place}: cannot be written as JSON in UTF-8 (line {number}): {error}"
        raise UserError("invalid_training_data", message, place) from None
    length = len(written) - len(b"\n")
    # The trainer refuses longer lines.
    if length > MAX_LINE_BYTES:
        message = (
            f"{place}: is {length} bytes of JSON, the limit is {MAX_LINE_BYTES} (line {number})"
        )
        raise UserError("invalid_training_data", message, place)
    return written


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under our names, checked against the base model that is served.

    Raises `UserError` with the name that the caller used.
    """
    named, problems = check_settings(config, served_facts())
    if problems:
        shown = [replace(p, field=f"config.{p.field}" if p.field else "config") for p in problems]
        raise UserError(
            "invalid_config",
            f"{shown[0].field}: {shown[0].message}",
            param=shown[0].field,
            details=[problem.to_json() for problem in problems],
        )
    return named
