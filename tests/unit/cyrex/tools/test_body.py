"""A tool's answer: what is shown of it, and that it can always be stored."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from cyrex.tools.body import BodyRefused, ResponseBody, body_of

LIMIT = 10_000


def body(raw: bytes, kind: str | None = "application/json", encoding: str = "") -> ResponseBody:
    headers = {"Content-Encoding": encoding}
    if kind is not None:
        headers["Content-Type"] = kind
    return body_of(headers, raw, LIMIT)


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        (b'{"a": [1, null]}', "application/json", {"a": [1, None]}),
        (b'\xef\xbb\xbf{"a": 1}', "application/json; charset=utf-8", {"a": 1}),
        (b'{"a": 1}', "application/problem+json", {"a": 1}),
        (b'{"a": 1', "application/json", '{"a": 1'),
        (b"NaN", "application/json", "NaN"),
        (b"1e999", "application/json", "1e999"),
        (b"9" * 5000, "application/json", "9" * 5000),
        (b'"a\\u0000b\\ud800"', "application/json", "a\ufffdb\ufffd"),
        (b'{"\\u0000": 1}', "application/json", {"\ufffd": 1}),
        (b"gr\xfc\xdfe", "text/plain; charset=latin-1", "grüße"),
        (b"gr\xfc", "text/plain; charset=utf-8", "gr\ufffd"),
        (b"a\0b", "text/html", "a\ufffdb"),
        (b"x", "text/plain; charset=no-such", "x"),
        (b"<a/>", "application/xml", "<a/>"),
        (b"plain", None, "plain"),
    ],
)
def test_json_and_text_are_shown_and_can_be_stored(raw: bytes, kind: str, value: Any) -> None:
    found = body(raw, kind)
    assert found.value == value
    stored = json.dumps(found.value, allow_nan=False)
    assert "\\u0000" not in stored
    assert "\\ud8" not in stored


def test_json_nested_without_end_is_text() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    assert body(deep).value == deep.decode()
    assert isinstance(body(b"[" * 70 + b"]" * 70).value, str)
    assert isinstance(body(b"[" * 60 + b"]" * 60).value, list)


def test_what_is_neither_is_not_shown() -> None:
    found = body(b"\x89PNG", "image/png")
    assert (found.value, found.size) == (None, 4)
    assert found.note == "image/png is neither JSON nor text, and is not shown"
    assert body(b"").note == "the answer is empty"


def test_compressed_answers_are_bounded() -> None:
    assert body(zlib.compress(b"[1]"), encoding="deflate").value == [1]
    with pytest.raises(BodyRefused, match="larger than 10000 bytes"):
        body(zlib.compress(b" " * (LIMIT + 1)), encoding="deflate")
    with pytest.raises(BodyRefused, match="is no gzip"):
        body(b"not gzip", encoding="gzip")
    with pytest.raises(BodyRefused, match="encoded as 'br'"):
        body(b"x", encoding="br")
