"""JSON values as text, and what counts as nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from helox.errors import LineError
from helox.json_text import unique_keys

# What people and programs leave around a name: a byte order mark, blanks, zero-width characters.
INVISIBLE = "\ufeff\u200b\u2060\u00ad"
BLANKS = " \t\r\n\v\f\u00a0" + INVISIBLE

Row = dict[str, Any]


def content_of(value: Any) -> str:
    """Text as it is; any other JSON value in one canonical form, so that equal data reads equal."""
    if isinstance(value, str):
        return value
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def answer_of(value: Any) -> str:
    """Text as it is; any other JSON value compact, its keys in the order in which they came.

    A model writes from left to right: what stands first is what the rest follows from.
    """
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen."""
    return not text.strip(BLANKS) or not text.translate(_WITHOUT_INVISIBLE).strip()


_WITHOUT_INVISIBLE = {ord(character): None for character in INVISIBLE}


def clean_row(line: Any) -> Row:
    """The keys of a row without byte order mark and blanks; null is absent.

    Raises:
        LineError: the row is no object, or two of its keys are the same.
    """
    if not isinstance(line, Mapping):
        raise LineError("line", "must be a JSON object")
    row: Row = {}
    for key, value in line.items():
        if value is None:
            continue
        name = str(key).strip(BLANKS)
        if name in row:
            raise LineError(name, "is there twice, once with blanks or a byte order mark around it")
        row[name] = value
    return row


def without_nulls(value: Any) -> Any:
    """Without the keys whose value is null, at every level. Items of lists stay: they count."""
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None or k == "const"}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def from_json_text(value: Any, what: str) -> Any:
    """A value that a table keeps as JSON text, read; any other value as it is.

    Raises:
        LineError: names `what`, for a text that is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, object_pairs_hook=unique_keys)
    except RecursionError:
        raise LineError(what, "is nested too deeply") from None
    except ValueError as error:
        raise LineError(what, f"is text that is not JSON: {error}") from error
