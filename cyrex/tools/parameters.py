"""The JSON schema of a tool's arguments: checked when it is registered, and at every call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import re2
from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from jsonschema.protocols import Validator

MAX_SCHEMA_BYTES = 16 * 1024
MAX_NODES = 2000
MAX_DEPTH = 32
MAX_ARGUMENT_BYTES = 64 * 1024
DEFAULT_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"type": "string"},
}
# They refer to other schemas, or to places that inlining moves.
UNSUPPORTED = ("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$id", "$anchor")
MAX_PATTERN_BYTES = 1 << 20  # of a compiled pattern
MAX_PATTERN_CHARACTERS = 1000


def _compiled(pattern: str) -> Any:
    """Compile with RE2, which matches in linear time; in Python's `re` a pattern can run for ever.

    RE2 has no look-around and no back references; nor has the grammar that constrains the model.
    Raises `re2.error`.
    """
    options = re2.Options()
    options.max_mem = MAX_PATTERN_BYTES
    options.log_errors = False
    return re2.compile(pattern, options)


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and _compiled(pattern).search(instance) is None:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, inner in patterns.items():
        compiled = _compiled(pattern)
        for name, value in instance.items():
            if compiled.search(name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    patterns = [_compiled(pattern) for pattern in schema.get("patternProperties", ())]
    known = schema.get("properties", {})
    for name, value in instance.items():
        if name in known or any(pattern.search(name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError(f"{name!r} is not an argument")
        elif isinstance(allowed, dict):
            yield from validator.descend(value, allowed, path=name)


_Checker: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)


class SchemaRefused(ValueError):
    """The schema cannot be used; the message says where and why."""


class ArgumentsRefused(ValueError):
    """The arguments do not fit the schema; `path` leads to the first that does not."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


def check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with every `$ref` written out. Raises `SchemaRefused`."""
    if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise SchemaRefused(f"is larger than {MAX_SCHEMA_BYTES} bytes")
    whole = _Inliner(schema).written_out()
    if whole.get("type") != "object":
        raise SchemaRefused('must be a JSON schema of "type": "object"')
    try:
        Draft202012Validator.check_schema(whole)
    except SchemaError as error:
        raise SchemaRefused(f"{error.json_path.removeprefix('$.')}: {error.message}") from None
    return whole


class _Inliner:
    """Replaces `{"$ref": "#/$defs/x"}` by what it names, within a number of nodes."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def written_out(self) -> dict[str, Any]:
        whole: dict[str, Any] = self._copy(self._root, (), "")
        for name in ("$defs", "definitions"):
            whole.pop(name, None)
        return whole

    def _copy(self, node: Any, open_refs: tuple[str, ...], path: str) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or path.count("/") > MAX_DEPTH:
            raise SchemaRefused(
                f"has more than {MAX_NODES} parts or {MAX_DEPTH} levels once every $ref is "
                "written out"
            )
        if isinstance(node, list):
            return [self._copy(item, open_refs, f"{path}/{i}") for i, item in enumerate(node)]
        if not isinstance(node, dict):
            return node
        for name in UNSUPPORTED:
            if isinstance(node.get(name), str):
                raise SchemaRefused(f"{path or '/'}: {name} is not supported")
        if "unevaluatedProperties" in node:  # the checker would run Python's own patterns
            raise SchemaRefused(f"{path or '/'}: use additionalProperties")
        self._check_pattern(node, path)
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference in open_refs:
                raise SchemaRefused(f"{path or '/'}: $ref {reference!r} leads to itself")
            rest = {key: value for key, value in node.items() if key != "$ref"}
            found = self._copy(self._at(reference, path), (*open_refs, reference), f"{path}/$ref")
            if not isinstance(found, dict):
                raise SchemaRefused(f"{path or '/'}: $ref {reference!r} names no object")
            return {**found, **self._items(rest, open_refs, path)}
        return self._items(node, open_refs, path)

    def _items(self, node: dict[str, Any], open_refs: tuple[str, ...], path: str) -> dict[str, Any]:
        return {
            key: value
            if not path and key in ("$defs", "definitions")
            else self._copy(value, open_refs, f"{path}/{key}")
            for key, value in node.items()
        }

    def _at(self, reference: str, path: str) -> Any:
        if not reference.startswith("#/"):
            raise SchemaRefused(f"{path or '/'}: $ref must begin with '#/'")
        found: Any = self._root
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                raise SchemaRefused(f"{path or '/'}: $ref {reference!r} names nothing")
            found = found[key]
        return found

    def _check_pattern(self, node: dict[str, Any], path: str) -> None:
        named = node.get("patternProperties")
        patterns = [("pattern", node.get("pattern"))]
        patterns += [("patternProperties", p) for p in named] if isinstance(named, dict) else []
        for key, pattern in patterns:
            if not isinstance(pattern, str):
                continue
            if len(pattern) > MAX_PATTERN_CHARACTERS:
                raise SchemaRefused(f"{path}/{key}: more than {MAX_PATTERN_CHARACTERS} characters")
            try:
                _compiled(pattern)
            except re2.error as error:
                reason = error.args[0].decode() if error.args else "cannot be compiled"
                raise SchemaRefused(f"{path}/{key}: {pattern!r}: {reason}") from None


def check_arguments(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Raises `ArgumentsRefused`."""
    if len(json.dumps(arguments)) > MAX_ARGUMENT_BYTES:
        raise ArgumentsRefused(f"are larger than {MAX_ARGUMENT_BYTES} bytes", "")
    try:
        error = next(iter(_Checker(schema).iter_errors(arguments)), None)
    except OverflowError:  # of an integer, which has no limit, as a float: see `multipleOf`
        raise ArgumentsRefused("hold a number that is too large", "") from None
    if error is not None:
        path = error.json_path.removeprefix("$").removeprefix(".")
        raise ArgumentsRefused(error.message[:300], path)
