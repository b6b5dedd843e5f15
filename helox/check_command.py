"""`python -m helox check FILE`: the whole report on a dataset, without training.

FILE is the data, or the spec of a run that names it. The report is JSON on standard output, with
`--page` an HTML page too. Exit codes: 0 it can be trained on, 2 the user can mend it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from helox.config_check import check_settings, read_spec
from helox.errors import EXIT_DONE, EXIT_USER_ERROR, UserError
from helox.sources import MAX_FILE_BYTES
from helox.spec import TrainingConfig

MAX_SPEC_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, help="the data (JSONL, JSON, CSV, TSV, Parquet), or a spec.json"
    )
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="the base model, for figures of tokens and time"
    )
    parser.add_argument("--config", metavar="JSON", default="{}", help="settings of the trainer")
    parser.add_argument("--threads", type=int, default=1, help="of the training that is estimated")
    parser.add_argument("--page", type=Path, metavar="HTML", help="also write the report as a page")
    parser.add_argument(
        "--max-bytes", type=int, default=MAX_FILE_BYTES, help="of data, when it is unpacked"
    )


def check(options: argparse.Namespace) -> int:
    """Returns the exit code."""
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
    text = _spec_text(options.file)
    if text is not None:
        spec = read_spec(text)
        data, base_dir, config, threads = spec.data, spec.base_model, spec.config, spec.threads
    else:
        config = _config(options.config)
    base = None
    if base_dir is not None:
        from helox.base import Base

        base = Base.open(base_dir)
    from helox.survey import survey_file

    report = survey_file(data, base, config, threads, options.max_bytes)
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
