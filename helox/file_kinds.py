"""What a file is, by its first bytes: one that is read here, or another that is named."""

from __future__ import annotations

import codecs

HEAD_BYTES = 4096

# First bytes, and what such a file is called. What is read here is not among them.
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (xls, doc); save it as CSV"),
    (b"ARROW1", "an Arrow file (Feather); save it as Parquet"),
    (b"ORC", "an ORC table; save it as Parquet"),
    (b"Obj\x01", "an Avro file; save it as Parquet"),
    (b"SQLite format 3\0", "an SQLite database; export the table as CSV"),
    (b"BZh", "compressed with bzip2; gzip is read"),
    (b"\xfd7zXZ\0", "compressed with xz; gzip is read"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; gzip is read"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; gzip is read"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; send the file inside it"),
    (b"Rar!", "a RAR archive; send the file inside it"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"RIFF", "a sound, video or picture (RIFF)"),
    (b"ID3", "a sound (MP3)"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program for Windows"),
    (b"\x93NUMPY", "a NumPy array; save the rows as JSONL"),
    (b"\x89HDF", "an HDF5 file; save the rows as JSONL"),
    (b"{\\rtf", "a rich text document (RTF); save it as CSV or JSONL"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS and not the file: fetch it with git lfs pull",
    ),
)
TEXT_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "a page (HTML), perhaps of an error or a login"),
    (b"<html", "a page (HTML), perhaps of an error or a login"),
    (b"<?xml", "XML; save the rows as JSONL"),
    (b"#!", "a program"),
    (b"---\n", "YAML; save the rows as JSONL"),
)
ARCHIVED: tuple[tuple[bytes, str], ...] = (
    (b"xl/", "an Excel workbook (xlsx); save the sheet as CSV"),
    (b"word/", "a Word document (docx); save the rows as CSV or JSONL"),
    (b"ppt/", "a PowerPoint document (pptx)"),
    (b"opendocument.spreadsheet", "an OpenDocument sheet (ods); save it as CSV"),
    (b"opendocument", "an OpenDocument file"),
    (b"[Content_Types].xml", "an Office document; save the sheet as CSV"),
)
TAR_PLACE, TAR_MAGIC = 257, b"ustar"

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
# The longer marks first: that of UTF-32 begins like that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def foreign_kind(head: bytes) -> str | None:
    """The name of a kind of file that is not read here; None for what may be read."""
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        for inside, name in ARCHIVED:
            if inside in head:
                return name
        return "a zip archive; send the file inside it"
    if head[TAR_PLACE:].startswith(TAR_MAGIC):
        return "a tar archive; send the file inside it"
    if head[:2] in (b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return "a Python pickle, which is never loaded; save the rows as JSONL"
    start = head.lstrip()[:32].lower()
    for text, name in TEXT_STARTS:
        if start.startswith(text):
            return name
    return None


def encoding_of(head: bytes) -> str:
    """The encoding of a text by its byte order mark, or by where its zeros lie; else UTF-8."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[0:64:2], head[1:64:2]
    if len(head) >= 4 and odd and not any(odd) and all(even[:4]):
        return "utf-16-le"
    if len(head) >= 4 and even and not any(even) and all(odd[:4]):
        return "utf-16-be"
    return "utf-8"
