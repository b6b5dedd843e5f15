"""The whole report on a dataset, without training: what `python -m helox check FILE` prints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helox.base import Base
from helox.base_facts import base_facts
from helox.check import Record, Report, read_numbered
from helox.config_check import adapted_layers, against_base, max_length_for
from helox.data import dataset_of, estimate
from helox.errors import UserError
from helox.forms import Conversation
from helox.mask import Encoder
from helox.near import Near, find_near
from helox.pii import PersonalData
from helox.plan import make_plan
from helox.sources import MAX_FILE_BYTES, Numbered, open_rows
from helox.spec import AUTO, TrainingConfig

SURVEY_FORMAT = 1
# Upper ends of the bins of the histogram, in tokens; the last bin has none.
BINS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


def survey_file(
    path: Path,
    base: Base | None,
    config: TrainingConfig,
    threads: int = 1,
    *,
    max_bytes: int = MAX_FILE_BYTES,
    name: str | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Raises `UserError` for a file that cannot be read at all; bad rows are part of the report."""
    name = name or path.name
    try:
        with path.open("rb") as file:
            source, rows = open_rows(file, name, max_bytes)
            found = survey(rows, base, config, threads, quick=quick)
    except OSError as error:
        raise UserError(
            "no_data", f"the data {name!r} cannot be read: {error.strerror}", field="data"
        ) from error
    return {
        **found,
        "file": {"name": name, "kind": source.kind, "gzipped": source.gzipped},
    }


def survey(
    rows: Iterable[Numbered],
    base: Base | None,
    config: TrainingConfig,
    threads: int = 1,
    *,
    quick: bool = False,
) -> dict[str, Any]:
    """The report of rows. Without a base there are no figures of tokens, time and memory.

    quick: near duplicates and personal data are not looked for.
    """
    report = Report()
    encoder = None if base is None else Encoder.of(base, max_length_for(config, base.max_positions))
    personal = PersonalData()
    records: list[Record] = []
    for record in read_numbered(rows, report, encoder):
        if not quick:
            personal.add(record.line, text_of(record.conversation))
        records.append(record)
    figures = _figures(records, report, base, config, threads)
    held_out = {record.line for record in figures.pop("holdout", [])}
    near = None if quick else find_near(_questions(records), held_out)
    split = figures.pop("split", {})
    return {
        "format": SURVEY_FORMAT,
        **report.to_json(),
        "counts": {**split, **report.counts()},
        "personal_data": personal.to_json(),
        "near_duplicates": near.to_json() if near is not None else None,
        "leakage": _leakage(near),
        **figures,
    }


def text_of(conversation: Conversation) -> str:
    """All that a row says, calls included."""
    parts = [message["content"] for message in conversation.messages]
    for message in conversation.messages:
        parts += [str(call["function"]["arguments"]) for call in message.get("tool_calls", ())]
    return "\n".join(parts)


def _questions(records: list[Record]) -> list[tuple[int, str]]:
    """The last thing asked in each row, each text once."""
    seen: dict[str, int] = {}
    for record in records:
        asked = record.conversation.messages[:-1]
        text = next((m["content"] for m in reversed(asked) if m["role"] == "user"), "")
        seen.setdefault(text, record.line)
    return [(line, text) for text, line in seen.items()]


def _leakage(near: Near | None) -> dict[str, Any] | None:
    if near is None:
        return None
    pairs = [pair.to_json() for pair in near.pairs if pair.crosses]
    return {"rows": near.leaking, "pairs": pairs}


def _figures(
    records: list[Record],
    report: Report,
    base: Base | None,
    config: TrainingConfig,
    threads: int,
) -> dict[str, Any]:
    limit = None if base is None else base.max_positions
    length = max_length_for(config, limit)
    settings = {"max_length": length, "num_epochs": config.num_epochs or AUTO}
    if base is None:
        return {"base_model": None, "settings": settings, "histogram": None, "estimate": None}
    facts = base_facts(base.path)
    lengths = [example.full_length for record in records for example in record.examples]
    found: dict[str, Any] = {
        "base_model": {"name": facts.name, **adapted_layers(config, facts)},
        "settings": settings,
        "config_problems": [problem.to_json() for problem in against_base(config, facts)],
        "histogram": histogram(lengths),
        "estimate": None,
    }
    try:
        data = dataset_of(records, report, config)
    except UserError as error:
        found["not_trainable"] = error.to_json()
        return found
    varied = config.augmentation_for(data.structured, base.parameters).variation > 0
    plan = make_plan(config, base, data.train, varied=varied)
    found["estimate"] = estimate(data, base, plan, threads)
    found["holdout"] = data.holdout_records
    found["split"] = data.counts
    return found


def histogram(lengths: list[int]) -> list[dict[str, Any]]:
    """Rows by their length in tokens before any cut: each bin up to and with `up_to`."""
    counts = [0] * (len(BINS) + 1)
    for length in lengths:
        counts[next((i for i, end in enumerate(BINS) if length <= end), len(BINS))] += 1
    last = max((i for i, count in enumerate(counts) if count), default=-1)
    ends = [*BINS, None]
    return [{"up_to": ends[i], "rows": counts[i]} for i in range(last + 1)]
