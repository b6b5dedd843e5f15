"""`python -m helox check FILE`: the whole report on a dataset, without training.

FILE is the data, or the spec of a run that names it. The report is JSON on standard output, with
`--page` an HTML page too. Exit codes: 0 it can be trained on, 2 the user can mend it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path
from typing import Any

from helox.check import parse_row
from helox.config_check import check_settings, read_spec
from helox.errors import EXIT_DONE, EXIT_USER_ERROR, LineError, UserError
from helox.sources import MAX_FILE_BYTES, open_rows
from helox.spec import TrainingConfig

MAX_SPEC_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, help="the data (JSONL, JSON, CSV, TSV, Parquet), or a spec.json"
    )
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="the base model, for figures of tokens and time"
    )
    parser.add_argument(
        "--enable-thinking", action="store_true", help="a base that can reason first does so"
    )
    parser.add_argument("--config", metavar="JSON", default="{}", help="settings of the trainer")
    parser.add_argument("--threads", type=int, default=1, help="of the training that is estimated")
    parser.add_argument(
        "--quick", action="store_true", help="leave out near duplicates and personal data"
    )
    parser.add_argument("--page", type=Path, metavar="HTML", help="also write the report as a page")
    add_bounds(parser)


def add_bounds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="what the file is called in the report")
    parser.add_argument("--cpu-seconds", type=int, help="be ended after so much of a processor")
    parser.add_argument("--memory-bytes", type=int, help="have no more memory than this")
    parser.add_argument(
        "--max-bytes", type=int, default=MAX_FILE_BYTES, help="of data, when it is unpacked"
    )


def bind(options: argparse.Namespace) -> None:
    """Put this process under the bounds that were asked for."""
    for bound, kind in (
        (options.cpu_seconds, resource.RLIMIT_CPU),
        (options.memory_bytes, resource.RLIMIT_AS),
    ):
        if bound is not None:
            resource.setrlimit(kind, (bound, bound))


def rows(options: argparse.Namespace) -> int:
    """`python -m helox rows FILE`: a file's rows as JSONL; returns the exit code.

    A row that is no JSON object is refused, with its number.
    """
    bind(options)
    try:
        with options.file.open("rb") as file:
            _, found = open_rows(file, _name(options), options.max_bytes)
            for number, row in found:
                if isinstance(row, (str, bytes)) and not row.strip():
                    continue
                try:
                    line = json.dumps(dict(parse_row(row)), ensure_ascii=False, allow_nan=False)
                    sys.stdout.buffer.write(line.encode() + b"\n")
                except (LineError, ValueError) as error:
                    message = f"line {number}: {error}"
                    raise UserError("bad_data", message, field="data", line=number) from error
    except OSError as error:
        return _refuse(UserError("no_data", f"{_name(options)}: {error.strerror}", field="data"))
    except UserError as error:
        return _refuse(error)
    return EXIT_DONE


def _name(options: argparse.Namespace) -> str:
    return str(options.name or options.file.name)


def _refuse(error: UserError) -> int:
    print(json.dumps(error.to_json(), ensure_ascii=False), file=sys.stderr)
    return EXIT_USER_ERROR


def check(options: argparse.Namespace) -> int:
    """Returns the exit code."""
    bind(options)
    try:
        report = _report(options)
    except UserError as error:
        print(json.dumps({"ok": False, "error": error.to_json()}, indent=2, ensure_ascii=False))
        return EXIT_USER_ERROR
    if options.page is not None:
        from helox.page import page_of

        try:
            options.page.write_text(page_of(report, report["file"]["name"]), encoding="utf-8")
        except OSError as error:
            print(f"helox: {options.page}: {error.strerror}", file=sys.stderr)
            return EXIT_USER_ERROR
    print(json.dumps(report, indent=2, ensure_ascii=False))
    return EXIT_DONE if report["ok"] and "error" not in report else EXIT_USER_ERROR


def _report(options: argparse.Namespace) -> dict[str, Any]:
    """Raises `UserError` for a file, base or setting that cannot be read at all."""
    data, base_dir, threads = options.file, options.base, options.threads
    enable_thinking = options.enable_thinking
    text = _spec_text(options.file)
    if text is not None:
        spec = read_spec(text)
        data, base_dir, config, threads = spec.data, spec.base_model, spec.config, spec.threads
        enable_thinking = spec.enable_thinking
    else:
        config = _config(options.config)
    base = None
    if base_dir is not None:
        from helox.base import Base

        base = Base.open(base_dir, enable_thinking)
    from helox.survey import survey_file

    report = survey_file(
        data,
        base,
        config,
        threads,
        max_bytes=options.max_bytes,
        name=options.name,
        quick=options.quick,
    )
    if report["problem_count"]:
        first = report["problems"][0]
        message = f"line {first.get('line')}: {first.get('field')}: {first['message']}"
        report["error"] = {
            "code": "bad_data",
            "message": f"{report['problem_count']} of {report['lines']} lines cannot be used; "
            f"the first is {message}",
            "lines": report["problems"],
        }
    elif report.get("not_trainable"):
        report["error"] = report["not_trainable"]
    return report


def _spec_text(path: Path) -> bytes | None:
    """The file's text if it is a spec: an object that names a base model and data."""
    try:
        if path.stat().st_size > MAX_SPEC_BYTES:
            return None
        text = path.read_bytes()
        values = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    named = isinstance(values, dict) and {"base_model", "data"} <= values.keys()
    return text if named and isinstance(values["data"], str) else None


def _config(text: str) -> TrainingConfig:
    try:
        values = json.loads(text)
    except ValueError as error:
        message = f"--config: is not JSON: {error}"
        raise UserError("invalid_config", message, field="config") from error
    if not isinstance(values, dict):
        raise UserError("invalid_config", "--config: must be a JSON object", field="config")
    named, problems = check_settings(values)
    if problems:
        field = f"config.{problems[0].field}"
        message = f"{field}: {problems[0].message}"
        raise UserError("invalid_config", message, field=field, lines=problems)
    return TrainingConfig.model_validate(named)
