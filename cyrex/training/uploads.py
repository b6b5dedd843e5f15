"""Rows out of a file that a company sends.

Texts are read here, as JSON bodies are. Parquet needs a library that fills a process's memory, so
it is read by a child process, with bounds of its own.
"""

from __future__ import annotations

import io
import itertools
from typing import Any

from cyrex.errors import UserError
from cyrex.training.check import TRAINING, bad_rows
from cyrex.training.check_child import read_parquet
from helox.check import parse_row
from helox.errors import LineError, Problem
from helox.errors import UserError as Refused
from helox.sources import open_rows
from settings import get_settings


def rows_of(content: bytes, name: str, field: str = TRAINING) -> list[dict[str, Any]]:
    """The rows of a file, as its JSON would have held them under the name of `field`.

    Raises `UserError`: the file is of a kind that is not read, too large unpacked, or has rows that
    are no JSON objects.
    """
    settings = get_settings()
    try:
        source, rows = open_rows(io.BytesIO(content), name, settings.max_body_bytes)
        if source.kind == "parquet":
            content = read_parquet(content, name)
            source, rows = open_rows(io.BytesIO(content), name, settings.max_body_bytes)
        found: list[dict[str, Any]] = []
        problems: list[Problem] = []
        for number, row in itertools.islice(rows, settings.max_training_examples + 1):
            if isinstance(row, (str, bytes)) and not row.strip():
                continue
            try:
                found.append(dict(parse_row(row)))
            except LineError as error:
                problems.append(Problem(error.message, field=error.field, line=number))
    except Refused as refused:
        raise UserError(refused.code, refused.message, param=field) from None
    if problems:
        raise bad_rows(problems, field)
    return found
