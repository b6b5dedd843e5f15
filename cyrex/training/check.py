"""What a training is asked to do, checked before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cyrex.adapters.base_model import base_model_dir, name_of, served_facts, served_name
from cyrex.errors import UserError
from cyrex.training.check_child import count_cut
from database.base import Json
from helox.check import MAX_LINE_BYTES, Report, read_records
from helox.config_check import check_settings
from helox.control import control_of
from helox.errors import Problem
from helox.holdout import choose, key_of
from helox.spec import TrainingConfig
from settings import MIB, get_settings

SHOWN_LINES = 20
TEMPLATE_TOKENS = 128  # that a chat template may write around a row
MAX_COUNTED_BYTES = 8 * MIB  # of rows whose tokens are counted while their sender waits


def check_request(
    lines: Sequence[Any], config: Mapping[str, Any] | None, base_model: str | None = None
) -> Report:
    """What was found in data that can be trained on; its tokens are not counted yet.

    Raises `UserError`, which names the field and the limit.
    """
    check_base_model(base_model)
    named = check_config(config or {})
    check_size(lines)
    _check_values(lines)
    facts = served_facts()
    report = Report()
    control = control_of(facts.control_tokens if facts is not None else ())
    keys = [key_of(record.conversation) for record in read_records(lines, report, control=control)]
    if report.problems:
        raise bad_rows(report.problems)
    if len(report.unweighted) == report.examples:
        raise UserError(
            "nothing_to_learn",
            "training_data: every answer has weight 0: there is nothing to learn",
            "training_data",
        )
    report.held_out = sum(choose(keys, TrainingConfig.model_validate(named).holdout_fraction))
    return report


def with_cut(report: Report, lines: Sequence[Any], config: Mapping[str, Any] | None) -> Json:
    """The counts of rows. Those that are cut are counted where a row is long enough for it: a
    token is a byte or more, so that a short row needs no tokenizer."""
    named = check_config(config or {})
    limit = TrainingConfig.model_validate(named).max_length - TEMPLATE_TOKENS
    content = [jsonl(line) for line in lines]
    counts = report.counts()
    if all(len(line) <= limit for line in content):
        return {**counts, "cut": 0, "dropped": len(report.unweighted)}
    if served_facts() is None or sum(map(len, content)) > MAX_COUNTED_BYTES:
        return counts
    found = count_cut(b"".join(content), named, base_model_dir())
    return counts if found is None else {**counts, "cut": found[0], "dropped": found[1]}


def check_base_model(base_model: str | None) -> None:
    """Raises `UserError` for another one than is served here."""
    if base_model is not None and name_of(base_model) != served_name():
        raise UserError(
            "unknown_base_model",
            f"base_model: {base_model!r} is not served here; leave it out for the one that is",
            param="base_model",
        )


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


def _check_values(lines: Sequence[Any]) -> None:
    """Each example is a JSON object that can be written down."""
    for number, line in enumerate(lines, 1):
        place = f"training_data[{number - 1}]"
        if not isinstance(line, Mapping):
            message = f"{place}: must be an object (line {number})"
            raise UserError("invalid_training_data", message, place)
        try:
            length = len(jsonl(line).rstrip(b"\n"))
        except (ValueError, TypeError) as error:
            message = f"{place}: cannot be written as JSON in UTF-8 (line {number}): {error}"
            raise UserError("invalid_training_data", message, place) from None
        # The trainer reads no longer ones.
        if length > MAX_LINE_BYTES:
            message = (
                f"{place}: is {length} bytes of JSON, the limit is {MAX_LINE_BYTES} (line {number})"
            )
            raise UserError("invalid_training_data", message, place)


def jsonl(line: Any) -> bytes:
    return (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()


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
