"""Rows of a table: CSV, TSV, and the values of a Parquet column as JSON has them."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from helox.errors import LineError
from helox.forms import FORMS
from helox.forms.values import BLANKS

SEPARATORS = (",", "\t", ";", "|")
MAX_CELL_CHARACTERS = 4 << 20
# Columns whose text is not text.
TRUTHS = {"true": True, "false": False}
TRUE_OR_FALSE = ("parallel_tool_calls",)
KNOWN_COLUMNS = frozenset(key for form in FORMS for key in form.fields)


def looks_like_table(start: str) -> str | None:
    """The separator of a text whose first line names columns; None where it does not.

    start: the beginning of the text, with the first line whole.
    """
    first, _, rest = start.partition("\n")
    found: list[tuple[int, int, str]] = []
    for separator in SEPARATORS:
        names = _names(first, separator)
        if len(names) > 1:
            found.append((len(KNOWN_COLUMNS & set(names)), len(names), separator))
    if not found:
        return None
    known, columns, separator = max(found, key=lambda item: (item[0], item[1]))
    looks_like_lines = any(line.lstrip().startswith("{") for line in rest.splitlines()[:3])
    regular = _columns_agree(start, separator, columns)
    return separator if known or (regular and not looks_like_lines) else None


def _names(line: str, separator: str) -> list[str]:
    try:
        cells = next(csv.reader([line.rstrip("\r")], delimiter=separator), [])
    except csv.Error:
        return []
    return [cell.strip(BLANKS) for cell in cells]


def _columns_agree(start: str, separator: str, columns: int) -> bool:
    """Whether the first rows have as many cells as the header names."""
    try:
        rows = list(csv.reader(io.StringIO(start, newline=""), delimiter=separator))[1:-1]
    except csv.Error:
        return False
    return bool(rows) and all(len(row) in (0, columns) for row in rows)


def table_rows(text: str, separator: str) -> Iterator[tuple[int, Mapping[str, Any] | LineError]]:
    """Rows by the line on which they begin. An empty cell is absent."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    begins = 1
    while True:
        begins = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield begins, LineError("line", f"is not CSV: {error}")
            return
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip(BLANKS) for cell in cells]
            twice = sorted({name for name in header if name and header.count(name) > 1})
            if twice:
                yield begins, LineError(twice[0], "is the name of two columns")
                return
            continue
        yield begins, _row(header, cells)


def _row(header: list[str], cells: list[str]) -> Mapping[str, Any] | LineError:
    if len(cells) != len(header):
        text = f"has {len(cells)} cells, and the header names {len(header)}"
        return LineError("line", f"{text}; a separator inside a cell needs quotes around it")
    row: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if cell == "" or (not name and not cell.strip()):
            continue
        row[name] = TRUTHS.get(cell.lower(), cell) if name in TRUE_OR_FALSE else cell
    return row


def plain_value(value: Any) -> Any:
    """A value of a Parquet column as JSON has it."""
    if isinstance(value, dict):
        return {str(key): plain_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return value
