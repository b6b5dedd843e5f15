"""What a training is asked to do, checked before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from cyrex.adapters.base_model import name_of, served_name
from cyrex.errors import UserError
from helox.check import MAX_LINE_BYTES, check_lines
from helox.spec import TrainingConfig, problems_of
from settings import get_settings

SHOWN_LINES = 20
# The settings of the original trainer that mean the same here under another name.
GUIDE_NAMES = {"rank": "lora_rank", "alpha": "lora_alpha", "dropout": "lora_dropout"}


def check_request(
    lines: Sequence[Any], config: Mapping[str, Any] | None, base_model: str | None = None
) -> None:
    """Refuse what could not be trained. Raises `UserError`, which names the field and the limit."""
    settings = get_settings()
    if base_model is not None and name_of(base_model) != served_name():
        raise UserError(
            "unknown_base_model",
            f"base_model: {base_model!r} is not served here; leave it out for the one that is",
            param="base_model",
        )
    check_config(config or {})
    if not lines:
        raise UserError("no_examples", "training_data: must hold an example", "training_data")
    if len(lines) > settings.max_training_examples:
        raise UserError(
            "too_many_examples",
            f"training_data: {len(lines)} examples, the limit is {settings.max_training_examples}",
            param="training_data",
        )
    _check_values(lines)
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
