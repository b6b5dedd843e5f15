"""From the data file to the examples that are trained on and those that are held out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helox.base import Base, sha256_of_file
from helox.base_facts import base_facts
from helox.check import MAX_PROBLEMS_TO_JSON, Record, Report, read_numbered
from helox.config_check import against_base, max_length_for
from helox.errors import UserError
from helox.holdout import choose, key_of
from helox.mask import Encoder, Example
from helox.plan import Plan
from helox.render import Conversation
from helox.sources import open_rows
from helox.spec import TrainingConfig

CPU_FLOPS_PER_THREAD = 6e10  # what LoRA training sustained on a small base, fp32
FLOPS_PER_TOKEN_AND_PARAMETER = 4  # forward 2, backward through the frozen base 2
BYTES_PER_ACTIVATION_TOKEN_AND_LAYER_WIDTH = 34 * 4

REFUSALS = {"max_length": "max_length_too_long", "target_modules": "unknown_target_module"}


@dataclass
class Dataset:
    """What a run trains on. `counts` goes into the receipt."""

    train: list[Example]
    holdout: list[Example]
    holdout_records: list[Record]
    report: Report
    sha256: str
    counts: dict[str, int]
    conversations: dict[int, Conversation]  # those that are trained on, by line
    validation_sha256: str | None = None  # of the file that was given to evaluate on
    structured: bool = False  # every answer is a JSON object or a call of a tool

    @property
    def holdout_lines(self) -> list[dict[str, Any]]:
        """As they came."""
        return [dict(record.raw) for record in self.holdout_records]


def read_dataset(
    path: Path, base: Base, config: TrainingConfig, validation: Path | None = None
) -> Dataset:
    """Checks every line, then splits; with a file for `validation` nothing of `path` is held out.

    Raises:
        UserError: the file is missing, a line is unusable (all of them are listed), or there is
            nothing to train on.
    """
    _check_settings(base, config)
    report = Report()
    records = _read(path, report, Encoder.of(base, max_length_for(config, base.max_positions)))
    if report.problems:
        raise _bad_lines(report)
    if not records:
        raise UserError("no_examples", f"{path.name} holds no examples", field="data")
    if validation is None:
        return replace(dataset_of(records, report, config), sha256=sha256_of_file(path))
    data = dataset_of(records, report, config.model_copy(update={"holdout_fraction": 0}))
    holdout, leaked = read_validation(validation, base, config, records)
    report.held_out = len(holdout)
    return replace(
        data,
        holdout=_trainable(holdout),
        holdout_records=holdout,
        sha256=sha256_of_file(path),
        validation_sha256=sha256_of_file(validation),
        counts={**data.counts, "held_out": len(holdout), "leaked": leaked},
    )


def dataset_of(records: list[Record], report: Report, config: TrainingConfig) -> Dataset:
    """Splits rows that were read with an encoder.

    Raises:
        UserError: there is nothing to train on.
    """
    usable = [r for r in records if any(e.trained_tokens for e in r.examples)]
    if not usable:
        raise UserError(
            "nothing_to_learn",
            f"no answer is left of any of the {len(records)} examples: their prompts fill "
            f"max_length ({config.max_length} tokens), or every answer has weight 0",
            field="config.max_length",
        )
    held_out = choose([key_of(r.conversation) for r in usable], config.holdout_fraction)
    sides: tuple[list[Record], list[Record]] = ([], [])
    for record, held in zip(usable, held_out, strict=True):
        sides[held].append(record)
    train, holdout = sides
    report.held_out = len(holdout)
    return Dataset(
        train=_trainable(train),
        holdout=_trainable(holdout),
        holdout_records=holdout,
        report=report,
        sha256="",
        conversations={record.line: record.conversation for record in train},
        structured=all(is_structured(record.conversation) for record in train),
        counts={
            "examples": len(records),
            "trained": len(train),
            "held_out": len(holdout),
            "dropped": len(records) - len(usable),
            "truncated": len(report.truncated),
            "duplicates": report.duplicates,
            "contradictions": report.contradictions,
            "tokens": report.tokens,
            "trained_tokens": report.trained_tokens,
        },
    )


def read_validation(
    path: Path, base: Base, config: TrainingConfig, train: list[Record]
) -> tuple[list[Record], int]:
    """The records of a file to evaluate on, and how many were left out: `train` asks the same.

    Raises:
        UserError: as for training data, with the field `validation_file`.
    """
    report = Report()
    try:
        length = max_length_for(config, base.max_positions)
        records = _read(path, report, Encoder.of(base, length))
        if report.problems:
            raise _bad_lines(report)
    except UserError as error:
        message = f"validation_file: {error.message}"
        where: dict[str, Any] = {"line": error.line, "lines": error.lines}
        raise UserError(error.code, message, field="validation_file", **where) from error
    usable = [r for r in records if any(e.trained_tokens for e in r.examples)]
    asked = {key_of(record.conversation) for record in train}
    kept = [record for record in usable if key_of(record.conversation) not in asked]
    if not kept:
        reason = "the training data asks everything that it asks" if usable else "it has no answers"
        message = f"validation_file: nothing is left to evaluate on: {reason}"
        raise UserError("bad_validation", message, field="validation_file")
    return kept, len(usable) - len(kept)


def is_structured(conversation: Conversation) -> bool:
    """Whether every answer is a form filled in: a JSON object, or calls of tools."""
    answers = [m for m in conversation.messages if m["role"] == "assistant"]
    return all(answer.get("tool_calls") or _is_object(answer["content"]) for answer in answers)


def _is_object(text: str) -> bool:
    try:
        return text.lstrip().startswith("{") and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def estimate(data: Dataset, base: Base, plan: Plan, threads: int) -> dict[str, Any]:
    """Rough figures before the start: steps, tokens, seconds and bytes on a CPU."""
    tokens = sum(len(example.ids) for example in data.train) * plan.num_epochs
    flops = FLOPS_PER_TOKEN_AND_PARAMETER * base.parameters * tokens
    width = int(base.config.get("hidden_size") or 0)
    layers = int(base.config.get("num_hidden_layers") or 0)
    longest = sorted((len(example.ids) for example in data.train), reverse=True)
    batch_tokens = sum(longest[: plan.batch_size])
    activations = batch_tokens * layers * width * BYTES_PER_ACTIVATION_TOKEN_AND_LAYER_WIDTH
    return {
        "steps": plan.total_steps,
        "epochs": plan.num_epochs,
        "batch_size": plan.batch_size,
        "learning_rate": plan.learning_rate,
        "tokens": tokens,
        "seconds": round(flops / (CPU_FLOPS_PER_THREAD * threads), 1),
        "memory_bytes": 4 * base.parameters + activations,
    }


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """JSONL, replaced as a whole."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    partial.replace(path)


def _read(path: Path, report: Report, encoder: Encoder) -> list[Record]:
    try:
        with path.open("rb") as file:
            _, rows = open_rows(file, path.name)
            return list(read_numbered(rows, report, encoder))
    except OSError as error:
        raise UserError(
            "no_data", f"the data {path.name!r} cannot be read: {error.strerror}", field="data"
        ) from error


def _trainable(records: list[Record]) -> list[Example]:
    return [e for record in records for e in record.examples if e.trained_tokens]


def _check_settings(base: Base, config: TrainingConfig) -> None:
    problems = against_base(config, base_facts(base.path))
    if problems:
        field = f"config.{problems[0].field}"
        code = REFUSALS.get(str(problems[0].field), "invalid_config")
        raise UserError(code, f"{field}: {problems[0].message}", field=field, lines=problems)


def _bad_lines(report: Report) -> UserError:
    first = report.problems[0]
    return UserError(
        "bad_data",
        f"{len(report.problems)} of {report.lines} lines cannot be used; the first is line "
        f"{first.line}: {first.field}: {first.message}",
        field=first.field,
        line=first.line,
        lines=report.problems[:MAX_PROBLEMS_TO_JSON],
    )
