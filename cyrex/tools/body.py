"""A tool's answer as a value that can be stored and shown: JSON, or text, or nothing."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from database.base import storable

MAX_DEPTH = 64
MAX_INTEGER = 2**256
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class BodyRefused(Exception):
    """The answer came, and cannot be shown. The message says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def too_large(cls, limit: int) -> BodyRefused:
        return cls("response_too_large", f"the answer is larger than {limit} bytes")


@dataclass(frozen=True)
class ResponseBody:
    """`value` is parsed JSON, text, or None with a `note` that says why nothing is shown."""

    value: Any
    content_type: str
    size: int
    note: str | None = None


def body_of(headers: Mapping[str, str], raw: bytes, limit: int) -> ResponseBody:
    """Decode what was read. Raises `BodyRefused`."""
    raw = _decompressed(headers.get("Content-Encoding", ""), raw, limit)
    message = Message()
    message["Content-Type"] = headers.get("Content-Type", "") or "text/plain"
    kind = message.get_content_type() if headers.get("Content-Type") else ""
    if not raw:
        return ResponseBody(None, kind, 0, "the answer is empty")
    if kind == "application/json" or kind.endswith("+json"):
        return ResponseBody(_json_or_text(raw), kind, len(raw))
    if kind.startswith("text/") or kind in ("application/xml", "") or kind.endswith("+xml"):
        return ResponseBody(_text(raw, message.get_content_charset("utf-8")), kind, len(raw))
    return ResponseBody(None, kind, len(raw), f"{kind} is neither JSON nor text, and is not shown")


def _decompressed(encoding: str, raw: bytes, limit: int) -> bytes:
    """Some tools compress though asked not to; the decompressed size is bounded."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BodyRefused("unknown_encoding", f"the answer is encoded as {encoding[:40]!r}")
    try:
        found = zlib.decompressobj(GZIP_OR_ZLIB).decompress(raw, limit + 1)
    except zlib.error as error:
        raise BodyRefused("broken_answer", f"the answer is no {encoding}: {error}") from None
    if len(found) > limit:
        raise BodyRefused.too_large(limit)
    return found


def _text(raw: bytes, charset: str) -> str:
    try:
        text = raw.decode(charset, "replace")
    except (LookupError, ValueError):
        text = raw.decode("utf-8", "replace")
    return storable(text)


def _json_or_text(raw: bytes) -> Any:
    """The value, or the text where it is no JSON that can be stored."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse)
        return _storable(value, MAX_DEPTH)
    except (ValueError, RecursionError):
        return _text(raw, "utf-8")


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _storable(value: Any, depth: int) -> Any:
    """Raises `ValueError` for what JSON in Postgres cannot hold."""
    if depth == 0:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_storable(key, 1): _storable(item, depth - 1) for key, item in value.items()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise ValueError("too large a number")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError("too long a number")
    return value
