"""Files by their first bytes: rows with their numbers, or a name for what is not read."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from helox.check import Report, read_numbered
from helox.errors import UserError
from helox.sources import MAX_LINE_BYTES, open_rows

ROWS = [{"input": 'Größe, "x"?', "output": "7\n8"}, {"input": "b", "output": "c"}]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


def read(content: bytes, **options: Any) -> tuple[str, list[Any], Report]:
    source, rows = open_rows(io.BytesIO(content), "file", **options)
    report = Report()
    records = list(read_numbered(rows, report))
    return str(source), [dict(record.raw) for record in records], report


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


CSV = 'input,output\r\n"Größe, ""x""?","7\n8"\r\nb,c\r\n'


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (LINES.encode(), "jsonl"),
        (LINES.replace("\n{", "\r\n\r\n{").encode(), "jsonl"),
        (b"\xef\xbb\xbf" + LINES.encode(), "jsonl"),
        (LINES.encode("utf-16"), "jsonl"),
        (LINES.encode("utf-16-le"), "jsonl"),
        (LINES.encode("utf-16-be"), "jsonl"),
        (json.dumps(ROWS).encode(), "json"),
        (json.dumps(ROWS, indent=2).encode("utf-16"), "json"),
        (json.dumps({"training_data": ROWS}).encode(), "json"),
        (json.dumps({"data": ROWS}, indent=1).encode(), "json"),
        ("\n".join(json.dumps(row, indent=2) for row in ROWS).encode(), "json"),
        (CSV.encode(), "csv"),
        (
            b"\xef\xbb\xbf"
            + CSV.replace(",out", ";out").replace('",', '";').replace("b,c", "b;c").encode(),
            "csv",
        ),
        (CSV.replace(",out", "\tout").replace('",', '"\t').replace("b,c", "b\tc").encode(), "tsv"),
        (gzip.compress(LINES.encode(), mtime=0), "jsonl in gzip"),
        (gzip.compress(CSV.encode(), mtime=0), "csv in gzip"),
        (parquet(ROWS), "parquet"),
        (gzip.compress(parquet(ROWS), mtime=0), "parquet in gzip"),
    ],
)
def test_the_same_rows_in_every_kind_of_file(content: bytes, kind: str) -> None:
    found, rows, report = read(content)
    assert found == kind and rows == ROWS and not report.problems


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"%PDF-1.4", "is a PDF"),
        (b"PK\x03\x04..word/document.xml", "a Word document"),
        (b"PK\x03\x04..", "a zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Office"),
        (b"ARROW1\0\0", "Feather"),
        (b"\x80\x04\x95", "pickle, which is never loaded"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"  <?xml version='1.0'?>", "XML"),
        (b"\x28\xb5\x2f\xfd.", "zstd; gzip is read"),
        (b"x" * 257 + b"ustar", "tar archive"),
        (b"\0" * 64, "nothing but zeros"),
        (bytes(range(1, 256)) * 3 + b"\0", "neither text nor Parquet"),
        (gzip.compress(gzip.compress(LINES.encode(), mtime=0), mtime=0), "gzip inside gzip"),
        (gzip.compress(LINES.encode(), mtime=0)[:-5], "broken gzip"),
        (parquet(ROWS)[:30], "broken Parquet"),
        ("input,output\nGröße,b\n".encode("latin-1"), "is not UTF-8 (line 2"),
    ],
)
def test_another_kind_of_file_is_named(content: bytes, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read(content)
    assert caught.value.code == "unknown_format" and said in caught.value.message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"input,output\na,b\n\nc\n", (4, "line", "has 1 cells")),
        (b'input,output\n"a"b,c\n', (2, "line", "is not CSV")),
        (b"input,input,output\na,b,c\n", (1, "input", "two columns")),
        (b"utterance,intent\na b,c\nd,e\n", (2, "line", "'intent', 'utterance'")),
        (LINES.encode() + b'\n{"input": "a", "input": "b", "output": "c"}', (3, "line", "twice")),
        (b'[{"input": "a", "output": NaN}, {"input": "a", "output": "b"}]', (1, "line", "NaN")),
        (json.dumps(ROWS).encode()[:-9], (2, "line", "is not JSON")),
        (b'[{"input": "a", "output": "b"} {"input": "c"}]', (2, "line", "breaks off")),
        (b'[{"input": "a", "output": "b"}, 7]', (2, "line", "must be a JSON object")),
        (b'{"input": "' + b"a" * MAX_LINE_BYTES + b'"}\n' + LINES.encode(), (1, "line", "longer")),
        (LINES.encode("latin-1"), (1, "line", "is not UTF-8")),
    ],
)
def test_a_bad_row_is_named_by_its_line(content: bytes, problem: tuple[int, str, str]) -> None:
    _, _, report = read(content)
    line, field, message = problem
    first = report.problems[0]
    assert (first.line, first.field) == (line, field) and message in first.message


def test_a_table_holds_chats_as_json_and_nothing_as_nothing() -> None:
    chat = json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    quoted = '"' + chat.replace('"', '""') + '"'
    content = f"messages,tools,parallel_tool_calls\n{quoted},,False\n"
    _, rows, report = read(content.encode())
    assert report.ok and rows == [{"messages": chat, "parallel_tool_calls": False}]


def test_columns_of_two_forms_in_one_parquet_file() -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [
        {"messages": chat, "input": None, "output": None},
        {"messages": None, "input": "x", "output": "y"},
    ]
    _, _, report = read(parquet(rows))
    assert report.ok and report.forms == {"messages": 1, "input+output": 1}


def test_a_file_may_hold_so_much_and_no_more() -> None:
    with pytest.raises(UserError, match="more than 1000 bytes") as caught:
        read(gzip.compress(LINES.encode() * 100, mtime=0), max_bytes=1000)
    assert caught.value.code == "data_too_large"
