"""Text on the wire to values and back: strict JSON that Postgres can store."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from database.base import UNSTORABLE

# Levels of a field's JSON: the 64 of a request's body or a line of data, and room for what events
# wrap around them. A number of ours: how deep Python itself can go depends on its stack.
MAX_DEPTH = 100


class EnvelopeInvalid(ValueError):
    """An entry that is no event. `reason` names the field and what is wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decoded(fields: Mapping[bytes, bytes] | Mapping[str, str]) -> dict[str, str]:
    """Field names and values as text. Raises `EnvelopeInvalid` where they are none."""
    texts = {}
    for name, value in fields.items():
        try:
            key = name.decode() if isinstance(name, bytes) else name
            text = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            raise EnvelopeInvalid(f"{name!r}: not UTF-8") from None
        if "\x00" in key or "\x00" in text:
            raise EnvelopeInvalid(f"{key!r}: holds a NUL, which cannot be stored")
        texts[key] = text
    return texts


def readable(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Field names and values for a person and for a JSON column, whatever bytes they are."""

    def text(raw: bytes) -> str:
        return printable(raw.decode(errors="backslashreplace"))

    return {text(name): text(value) for name, value in fields.items()}


def printable(text: str) -> str:
    """`text` with what a text column refuses written as an escape."""
    return text.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")


def dumps(value: Any) -> str:
    """Compact JSON. Raises `ValueError` for what JSON cannot say (NaN, other types)."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def loads(name: str, text: str) -> Any:
    """The value of JSON `text`, the field `name`. Raises `EnvelopeInvalid`."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        raise EnvelopeInvalid(f"{name}: not JSON: {error}") from None
    if _is_too_deep(value):
        raise _too_deep(name)
    # Only an escape can hide what a text column refuses; most events hold none.
    if "\\u" in text and not storable(value):
        raise EnvelopeInvalid(f"{name}: holds a NUL or a half surrogate, which cannot be stored")
    return value


def _too_deep(name: str) -> EnvelopeInvalid:
    return EnvelopeInvalid(f"{name}: nested deeper than {MAX_DEPTH} levels")


def _is_too_deep(value: Any) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [x for items in inner for x in items if isinstance(x, (dict, list))]
    return bool(level)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is out of range")
    return value


def storable(value: Any) -> bool:
    """Whether a JSON column can hold every text in `value`."""
    if isinstance(value, str):
        return UNSTORABLE.search(value) is None
    if isinstance(value, dict):
        return all(storable(key) and storable(item) for key, item in value.items())
    if isinstance(value, list):
        return all(storable(item) for item in value)
    return True
