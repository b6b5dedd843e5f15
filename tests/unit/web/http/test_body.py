"""A body that cannot be read or stored is refused, and the refusal says what and where."""

from __future__ import annotations

import json

import pytest

from cyrex.errors import UserError
from web.http.body import MAX_DEPTH, parse_object


def refused(raw: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        parse_object(raw)
    assert caught.value.status == 400
    assert caught.value.code == "invalid_json"
    return caught.value


def test_an_object_is_read_as_it_is() -> None:
    text = '{"a": [1, 2.5, true, null, "é😀"], "b": {"c": "\\n\\ud83d\\ude00"}}'
    assert parse_object(text.encode()) == {
        "a": [1, 2.5, True, None, "é😀"],
        "b": {"c": "\n😀"},
    }


def test_a_syntax_error_names_line_and_column() -> None:
    error = refused(b'{"a": 1,\n  "b": }')
    assert "line 2 column 8" in error.message


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a": "\xff"}', "not valid UTF-8 at byte 7"),
        (b'{"a": NaN}', "NaN is not allowed"),
        (b'{"a": -Infinity}', "-Infinity is not allowed"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too long"),
        (b'{"a": "\x00"}', "Invalid control character"),
        (b"{} {}", "Extra data"),
    ],
)
def test_what_is_no_object_of_storable_values_is_refused(raw: bytes, said: str) -> None:
    assert said in refused(raw).message


@pytest.mark.parametrize(
    ("escape", "said"),
    [
        ("\\u0000", "NUL"),
        ("\\ud800", "half a surrogate pair"),
        ("\\uDC00x", "half a surrogate pair"),
    ],
)
def test_characters_that_cannot_be_stored_are_refused_by_field(escape: str, said: str) -> None:
    raw = f'{{"training_data": [{{"input": "a"}}, {{"input": "b{escape}"}}]}}'.encode()
    error = refused(raw)
    assert error.param == "training_data[1].input"
    assert said in error.message


def test_a_field_name_may_hold_none_either() -> None:
    error = refused(b'{"data": {"a\\u0000b": 1}}')
    assert error.param == "data"


def test_an_escaped_backslash_before_u0000_is_plain_text() -> None:
    assert parse_object(b'{"a": "\\\\u0000"}') == {"a": "\\u0000"}


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    raw = b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    assert f"deeper than {MAX_DEPTH} levels" in refused(raw).message


def test_the_deepest_allowed_nesting_is_read() -> None:
    raw = b'{"a": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert json.dumps(parse_object(raw)).count("[") == MAX_DEPTH - 1
