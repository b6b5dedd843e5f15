"""The schema of a tool's arguments: what is refused, and how arguments are held against it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cyrex.tools.parameters import ArgumentsRefused, SchemaRefused, check_arguments, check_schema

OBJECT = {"type": "object"}


def doubling() -> dict[str, Any]:
    levels = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(30)}
    return {**OBJECT, "properties": {"x": {"$ref": "#/$defs/a0"}}, "$defs": {**levels, "a30": {}}}


def nested(depth: int) -> dict[str, Any]:
    return {**OBJECT, "properties": {"x": nested(depth - 1)}} if depth else OBJECT


def test_references_are_written_out() -> None:
    schema = {
        **OBJECT,
        "properties": {"who": {"$ref": "#/$defs/Person", "description": "whom"}},
        "$defs": {
            "Person": {**OBJECT, "properties": {"name": {"$ref": "#/$defs/Name"}}},
            "Name": {"type": "string"},
        },
    }
    assert check_schema(schema) == {
        **OBJECT,
        "properties": {
            "who": {**OBJECT, "properties": {"name": {"type": "string"}}, "description": "whom"}
        },
    }


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"a": {"$ref": "https://example.com/s"}}}, "$ref must begin with '#/'"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "$ref must begin with '#/'"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "names nothing"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "leads to itself"),
        ({"properties": {"a": {"$ref": "#/type"}}}, "names no object"),
        ({"$id": "https://example.com/s"}, "$id is not supported"),
        ({"properties": {"a": {"type": "strin"}}}, "properties.a.type"),
        ({"required": "a"}, "required"),
        ({"properties": {"a": {"pattern": "("}}}, "/properties/a/pattern"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "/properties/a/pattern: '(?=a)'"),
        ({"properties": {"a": {"pattern": "a" * 1001}}}, "more than 1000 characters"),
        ({"patternProperties": {"(a)\\1": {}}}, "/patternProperties"),
        ({"unevaluatedProperties": False}, "use additionalProperties"),
        ({"description": "d" * 20_000}, "larger than 16384 bytes"),
        (doubling(), "more than 2000 parts"),
        (nested(40), "32 levels"),
    ],
)
def test_a_schema_that_cannot_be_used(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaRefused) as refused:
        check_schema({**OBJECT, **schema})
    assert message in str(refused.value)


def test_arguments_are_held_against_the_schema() -> None:
    schema = check_schema(
        {
            **OBJECT,
            "properties": {
                "email": {"type": "string"},
                "lines": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["email"],
            "additionalProperties": False,
        }
    )
    check_arguments(schema, {"email": "jo@example.com", "lines": [1, 2]})
    for arguments, path in (
        ({"email": 1}, "email"),
        ({"email": "x", "lines": [1, "2"]}, "lines[1]"),
        ({}, ""),
        ({"email": "x", "more": 1}, ""),
        ({"email": "x" * 70_000}, ""),
    ):
        with pytest.raises(ArgumentsRefused) as refused:
            check_arguments(schema, arguments)
        assert refused.value.path == path


def test_a_number_too_large_for_a_check_is_refused() -> None:
    schema = {"type": "object", "properties": {"n": {"multipleOf": 0.5}}}
    check_arguments(schema, {"n": 1.5})
    with pytest.raises(ArgumentsRefused, match="a number that is too large"):
        check_arguments(schema, {"n": 10**400})


def test_patterns_are_looked_at() -> None:
    schema = check_schema(
        {
            **OBJECT,
            "properties": {"order": {"type": "string", "pattern": r"^[A-Z]{2}-\d+$"}},
            "patternProperties": {"^x-": {"type": "integer"}},
            "additionalProperties": False,
        }
    )
    check_arguments(schema, {"order": "AB-12", "x-count": 1})
    for arguments, message in (
        ({"order": "AB-12 "}, "does not match"),
        ({"x-count": "1"}, "is not of type 'integer'"),
        ({"y-count": 1}, "'y-count' is not an argument"),
    ):
        with pytest.raises(ArgumentsRefused, match=message):
            check_arguments(schema, arguments)


@pytest.mark.parametrize("schema", [{"additionalProperties": False}, {}])
def test_a_pattern_of_a_company_never_keeps_us_busy(schema: dict[str, Any]) -> None:
    began = time.monotonic()
    patterns = {"properties": {"a": {"pattern": "^(a+)+$"}}, "patternProperties": {"^(b+)+$": {}}}
    checked = check_schema({**OBJECT, **patterns, **schema})
    for arguments in ({"a": "a" * 5000 + "!"}, {"b" * 5000 + "!": 1, "a": "!"}):
        with pytest.raises(ArgumentsRefused):
            check_arguments(checked, arguments)
    assert time.monotonic() - began < 5
