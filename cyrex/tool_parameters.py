"""The JSON schema of a tool's arguments: checked when it is registered, and at every call."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, validators
from jsonschema.protocols import Validator

MAX_SCHEMA_BYTES = 16 * 1024
MAX_NODES = 2000
MAX_DEPTH = 32
MAX_ARGUMENT_BYTES = 64 * 1024
DEFAULT_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"type": "string"},
}
# These would look elsewhere for a schema, or name places that inlining moves.
UNSUPPORTED = ("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$id", "$anchor")
# A company's regular expression could keep Python's matcher busy for ever: the grammar that the
# model writes under knows patterns, and runs in linear time.
_Checker: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"pattern": None, "patternProperties": None}
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
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            try:
                re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise SchemaRefused(f"{path}/pattern: {error}") from None


def check_arguments(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Raises `ArgumentsRefused`. Patterns are not looked at."""
    if len(json.dumps(arguments)) > MAX_ARGUMENT_BYTES:
        raise ArgumentsRefused(f"are larger than {MAX_ARGUMENT_BYTES} bytes", "")
    error = next(iter(_Checker(schema).iter_errors(arguments)), None)
    if error is not None:
        path = error.json_path.removeprefix("$").removeprefix(".")
        raise ArgumentsRefused(error.message[:300], path)
