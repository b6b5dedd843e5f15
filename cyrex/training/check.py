"""The settings and the examples of a training, checked before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from cyrex.datasets import jsonl
from cyrex.errors import UserError
from helox.check import MAX_LINE_BYTES, check_lines
from helox.spec import TrainingConfig, problems_of
from settings import get_settings

SHOWN_LINES = 20
# The settings of the original trainer that mean the same here under another name.
GUIDE_NAMES = {"rank": "lora_rank", "alpha": "lora_alpha", "dropout": "lora_dropout"}


def check_examples(lines: Sequence[Any]) -> list[bytes]:
    """The examples as lines of JSON, which are what is stored: they are written once, here.

    Raises `UserError`, which names the line, the field or the limit.
    """
    limit = get_settings().max_training_examples
    if not lines:
        raise UserError("no_examples", "training_data: must hold an example", "training_data")
    if len(lines) > limit:
        raise UserError(
            "too_many_examples",
            f"training_data: {len(lines)} examples, the limit is {limit}",
            param="training_data",
        )
    written = [_written(line, number) for number, line in enumerate(lines, 1)]
    problems = check_lines(lines).problems
    if problems:
        first = problems[0]
        place = f"training_data[{(first.line or 1) - 1}]"
        if first.field and first.field != "line":
            place = f"{place}.{first.field}"
        raise UserError(
            "invalid_training_data",
            f"{place}: {first.message} (line {first.line}; {len(problems)} bad lines in all)",
            param=place,
            details=[problem.to_json() for problem in problems[:SHOWN_LINES]],
        )
    return written


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
    """The settings under our names. Raises `UserError` with the name that the caller used."""
    asked = {GUIDE_NAMES.get(key, key): key for key in config}
    if len(asked) < len(config):
        twice = next(key for key in config if asked[GUIDE_NAMES.get(key, key)] != key)
        other = asked[GUIDE_NAMES.get(twice, twice)]
        message = f"config.{twice}: is the same setting as {other}"
        raise UserError("invalid_config", message, f"config.{twice}")
    named = {GUIDE_NAMES.get(key, key): value for key, value in config.items()}
    try:
        TrainingConfig.model_validate(named)
    except ValidationError as error:
        problems = [
            replace(problem, field=asked.get(str(problem.field), problem.field))
            for problem in problems_of(error)
        ]
        field = f"config.{problems[0].field}" if problems[0].field else "config"
        raise UserError(
            "invalid_config",
            f"{field}: {problems[0].message}",
            param=field,
            details=[problem.to_json() for problem in problems],
        ) from None
    return named
