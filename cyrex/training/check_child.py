"""Checks of datasets that cost too much for a process that others wait for: in a child, bounded.

The child is `python -m helox check` or `rows`. It has so many seconds, so much of a processor and
so much memory; a few run at a time, and who comes when they do is asked to come back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from cyrex.errors import TooMany, Unavailable, UserError
from helox.errors import EXIT_DONE, EXIT_USER_ERROR
from settings import MIB, get_settings

log = structlog.get_logger()

SECONDS = 120.0
CPU_SECONDS = 120
COUNT_SECONDS = 15.0  # while somebody waits for the answer to a request for training
MEMORY_BYTES = 4096 * MIB  # of addresses, of which libraries take most
AT_ONCE = 2  # in a process of the API
NICENESS = 5
PAGE = "page.html"

Json = dict[str, Any]
_running = threading.BoundedSemaphore(AT_ONCE)


def survey(
    content: bytes, name: str, config: Mapping[str, Any], base: Path | None, page: bool = False
) -> tuple[Json, str | None]:
    """The report on a dataset, and its page if it is asked for.

    Raises `UserError` for data or settings that cannot be read at all, or that take longer than a
    check may; `TooMany` while as many checks run as may.
    """
    arguments = ["--config", json.dumps(config), "--max-bytes", str(get_settings().max_body_bytes)]
    arguments += ["--threads", str(get_settings().training_threads), "--name", name]
    if base is not None:
        arguments += _base_arguments(base)
    with _folder(content) as file:
        shown = file.parent / PAGE
        if page:
            arguments += ["--page", str(shown)]
        output, status = _run("check", [str(file), *arguments])
        html = shown.read_text(encoding="utf-8") if page and shown.is_file() else None
    report = _json(output)
    if status not in (EXIT_DONE, EXIT_USER_ERROR) or not report:
        raise _broken(status)
    if "lines" not in report:
        error = report.get("error") or {}
        field = str(error.get("field") or "training_data")
        param = "training_data" if field == "data" else field
        raise UserError(str(error.get("code")), str(error.get("message")), param=param)
    return report, html


def count_cut(content: bytes, config: Mapping[str, Any], base: Path) -> tuple[int, int] | None:
    """Rows that are cut at `max_length`, and rows of which no answer is left then.

    None where that cannot be said at once: the worker counts them before it trains.
    """
    with _folder(content) as file:
        arguments = [str(file), "--quick", "--config", json.dumps(config)]
        try:
            output, _ = _run("check", [*arguments, *_base_arguments(base)], COUNT_SECONDS)
        except UserError:
            return None
    counts = _json(output).get("counts") or {}
    if counts.get("cut") is None:
        return None
    return int(counts["cut"]), int(counts["dropped"])


def read_parquet(content: bytes, name: str) -> bytes:
    """A Parquet file's rows as JSONL. Raises as `survey` does."""
    limit = str(get_settings().max_body_bytes)
    with _folder(content) as file:
        output, status = _run("rows", [str(file), "--max-bytes", limit, "--name", name])
    if status == EXIT_DONE:
        return output
    refused = _json(output.splitlines()[-1] if output.strip() else b"")
    if status != EXIT_USER_ERROR or not refused:
        raise _broken(status)
    message = str(refused.get("message"))
    raise UserError(str(refused.get("code")), message, param="training_data")


def _base_arguments(base: Path) -> list[str]:
    """The base model, as it is trained and served here."""
    thinking = ["--enable-thinking"] if get_settings().base_model_thinking else []
    return ["--base", str(base.resolve()), *thinking]


@contextmanager
def _folder(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cyrex-check-") as folder:
        file = Path(folder) / "data.bin"
        file.write_bytes(content)
        yield file


def _run(command: str, arguments: list[str], seconds: float = SECONDS) -> tuple[bytes, int]:
    """Output and exit status. What the child says of an error follows its output."""
    if not _running.acquire(blocking=False):
        raise TooMany("too_many_checks", "as many datasets are being checked as may; try again")
    try:
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "helox", command, *arguments),
                    *("--cpu-seconds", str(CPU_SECONDS), "--memory-bytes", str(MEMORY_BYTES)),
                    *("--die-with-parent", str(os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output if command == "rows" else subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
            try:
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise _broken(None) from None
            except ProcessLookupError:
                status = process.wait(seconds)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            output.seek(0)
            return output.read(), status
    finally:
        _running.release()


def _broken(status: int | None) -> UserError:
    if status is None or status < 0:
        return UserError(
            "check_too_costly",
            f"training_data: checking it takes more than {SECONDS:g} seconds or "
            f"{MEMORY_BYTES // MIB} MiB; send fewer or shorter rows",
            param="training_data",
        )
    log.error("dataset_check_failed", status=status)
    return Unavailable("check_failed", "the dataset could not be checked; try again")


def _json(text: bytes) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
