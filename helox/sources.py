"""Rows out of a file of any form: JSONL, a JSON array, CSV, TSV or Parquet, plain or gzipped.

A file is recognised by its first bytes and not by its name. Texts may be UTF-8 with or without a
byte order mark, or UTF-16.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from helox.errors import LineError, UserError
from helox.file_kinds import GZIP, HEAD_BYTES, PARQUET, encoding_of, foreign_kind
from helox.json_text import refuse_constant, unique_keys
from helox.tables import looks_like_table, table_rows

MAX_LINE_BYTES = 4 << 20
MAX_FILE_BYTES = 4 << 30  # of what a file holds, unpacked
PARQUET_BATCH_ROWS = 1024
MAX_GZIPS = 1  # one inside another is a trick, or a mistake

# Names under which a whole dataset stands in one object.
WRAPPERS = ("training_data", "data", "rows", "examples", "instances", "train")
AROUND_ROWS = re.compile(rf'\{{\s*"(?:{"|".join(WRAPPERS)})"\s*:\s*\[')

Row = str | bytes | Mapping[str, Any] | LineError
# From 1: the line of the file, or the number of the row where rows are no lines.
Numbered = tuple[int, Row]


@dataclass(frozen=True)
class Source:
    """How a file's rows are written."""

    kind: str  # jsonl, json, csv, tsv, parquet
    encoding: str | None = None
    gzipped: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{' in gzip' if self.gzipped else ''}"


def open_rows(
    file: BinaryIO, name: str, max_bytes: int = MAX_FILE_BYTES
) -> tuple[Source, Iterator[Numbered]]:
    """What a file is, and its rows, read as they are asked for.

    Raises:
        UserError: the file is of a kind that is not read, which is named; it is broken or too long.
            So does the iterator, for what is found later.
    """
    gzipped = 0
    stream: BinaryIO = io.BufferedReader(_Limited(file, name, max_bytes))  # type: ignore[type-var,unused-ignore]
    head = _peek(stream, name)
    while head.startswith(GZIP):
        gzipped += 1
        if gzipped > MAX_GZIPS:
            raise _refused(name, "is gzip inside gzip; send it packed once")
        stream = io.BufferedReader(_Limited(gzip.GzipFile(fileobj=stream), name, max_bytes))  # type: ignore[type-var,unused-ignore]
        head = _peek(stream, name)
    if head.startswith(PARQUET):
        return Source("parquet", None, bool(gzipped)), _parquet(stream, name)
    known = foreign_kind(head)
    if known is not None:
        raise _refused(name, f"is {known}; rows are read from JSONL, JSON, CSV, TSV and Parquet")
    encoding = encoding_of(head)
    start = head.decode(encoding, errors="replace").lstrip("\ufeff \t\r\n")
    separator = None if start.startswith(("{", "[")) else looks_like_table(start)
    if separator is not None:
        kind = "tsv" if separator == "\t" else "csv"
        text = _decoded(stream.read(), encoding, name)
        return Source(kind, encoding, bool(gzipped)), table_rows(text, separator)
    if start.startswith("[") or (start.startswith("{") and not _is_lines(start)):
        text = _decoded(stream.read(), encoding, name)
        return Source("json", encoding, bool(gzipped)), _documents(text)
    if b"\0" in head and encoding == "utf-8":
        raise _refused(name, "is neither text nor Parquet; it holds bytes that are zero")
    lines = _lines(stream) if encoding.startswith("utf-8") else _text_lines(stream, encoding, name)
    return Source("jsonl", encoding, bool(gzipped)), lines


class _Limited(io.RawIOBase):
    """A stream that refuses to give more than so many bytes, and says in words what is broken."""

    def __init__(self, file: Any, name: str, limit: int) -> None:
        self._file, self._name, self._limit, self._read = file, name, limit, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            chunk = self._file.read(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _refused(self._name, f"is broken gzip: {error}") from error
        self._read += len(chunk)
        if self._read > self._limit:
            raise UserError(
                "data_too_large",
                f"{self._name} holds more than {self._limit} bytes",
                field="data",
            )
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _peek(stream: BinaryIO, name: str) -> bytes:
    head: bytes = stream.peek(HEAD_BYTES)[:HEAD_BYTES]  # type: ignore[attr-defined]
    if not head.strip(b" \t\r\n\0"):
        if not head:
            raise UserError("no_examples", f"{name} is empty", field="data")
        if head.count(0) == len(head):
            raise _refused(name, "holds nothing but zeros: it was not written to the end")
    return head


def _is_lines(start: str) -> bool:
    """Whether a text that begins with `{` has an object on its first line, or a broken one."""
    if AROUND_ROWS.match(start):
        return False
    first, newline, _ = start.partition("\n")
    try:
        json.loads(first)
    except RecursionError:
        return True
    except ValueError:
        return not (newline and first.rstrip().endswith(("{", "[", ",", ":")))  # laid out
    return True


def _wrapped(value: Any) -> list[Any] | None:
    """The rows of an object that holds a whole dataset; None for any other value."""
    keys = [key for key in WRAPPERS if isinstance(value, dict) and key in value]
    if len(keys) != 1 or not isinstance(value[keys[0]], list):
        return None
    rows: list[Any] = value[keys[0]]
    return rows


def _lines(stream: BinaryIO) -> Iterator[Numbered]:
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 2):
        number += 1
        yield number, line
        while len(line) == MAX_LINE_BYTES + 2 and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES + 2)  # the rest of a line that was refused


def _text_lines(stream: BinaryIO, encoding: str, name: str) -> Iterator[Numbered]:
    text = _decoded(stream.read(), encoding, name)
    yield from enumerate(text.split("\n"), start=1)


def _decoded(raw: bytes, encoding: str, name: str) -> str:
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _refused(
            name,
            f"is not {encoding.removesuffix('-sig').upper()} (line {line}, byte {error.start}); "
            "save it as UTF-8",
        ) from error


def _documents(text: str) -> Iterator[Numbered]:
    """The rows of a JSON array, of an object around one, or of objects one after the other."""
    strict = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=refuse_constant)
    place, number = _skip(text, 0), 0
    if text.startswith("[", place):
        yield from _array(text, place + 1, strict)
        return
    while place < len(text):
        number += 1
        value, place = _value(text, place, strict)
        rows = _wrapped(value) if number == 1 else None
        if rows is not None:
            yield from enumerate(map(_object, rows), start=1)
        else:
            yield number, value
        if place < 0:
            return
        place = _skip(text, place)


def _array(text: str, place: int, strict: json.JSONDecoder) -> Iterator[Numbered]:
    number = 0
    place = _skip(text, place)
    while not text.startswith("]", place):
        number += 1
        value, place = _value(text, place, strict)
        yield number, value
        if place < 0:
            return
        place = _skip(text, place)
        if text.startswith(",", place):
            place = _skip(text, place + 1)
        elif not text.startswith("]", place):
            yield number + 1, LineError("line", "the array breaks off: there is no , or ] here")
            return
    if text[place + 1 :].strip():
        yield number + 1, LineError("line", "there is something behind the array's end")


def _value(text: str, place: int, strict: json.JSONDecoder) -> tuple[Row, int]:
    """The value at a place and the place behind it; -1 where there is no telling where it ends."""
    try:
        value, end = strict.raw_decode(text, place)
    except RecursionError:
        return LineError("line", "is nested too deeply"), -1
    except json.JSONDecodeError as error:
        return LineError("line", f"is not JSON: {error}"), -1
    except ValueError as error:  # a key that is there twice, a NaN: it can be told where it ends
        _, end = json.JSONDecoder().raw_decode(text, place)
        return LineError("line", f"is not JSON: {error}"), end
    return _object(value), end


def _object(value: Any) -> Row:
    return value if isinstance(value, dict) else LineError("line", "must be a JSON object")


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _parquet(stream: BinaryIO, name: str) -> Iterator[Numbered]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise _refused(
            name, "is Parquet, which needs the package pyarrow: pip install 'cyrex[tables]'"
        ) from error
    from helox.tables import plain_value

    number = 0
    try:
        table = ParquetFile(io.BytesIO(stream.read()))
        for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield number, plain_value(row)
    except (ArrowException, OSError) as error:
        raise _refused(name, f"is broken Parquet: {error}") from error


def _refused(name: str, message: str) -> UserError:
    return UserError("unknown_format", f"{name} {message}", field="data")
