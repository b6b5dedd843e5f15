"""Whether a call's arguments fit their tool's JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from jsonschema.protocols import Validator

MAX_SHOWN = 200  # characters of what the validator says

# Not looked at: these cost more than a line may (a pattern can run for ever, a reference can
# point at itself), or mean nothing for what is learned.
UNCHECKED = (
    "$dynamicRef",
    "$ref",
    "format",
    "pattern",
    "patternProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
)


def _additional(
    validator: Any, allowed: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict) or "patternProperties" in schema:
        return
    for name in instance.keys() - schema.get("properties", {}).keys():
        if allowed is False:
            yield ValidationError(f"{name!r} is no parameter of it")
        elif isinstance(allowed, dict):
            yield from validator.descend(instance[name], allowed, path=name)


_Checker: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {**dict.fromkeys(UNCHECKED), "additionalProperties": _additional},
)


def misfit(arguments: Mapping[str, Any], parameters: Any) -> str | None:
    """What is wrong with the arguments; None where they fit, or the schema is no schema.

    A name that a schema with properties does not list is taken for a mistake, unless the schema
    says that there may be others.
    """
    if not isinstance(parameters, Mapping) or not parameters:
        return None
    checker = _checker(json.dumps(parameters, sort_keys=True))
    if checker is None:
        return None
    error = next(checker.iter_errors(dict(arguments)), None)
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))
    return (f"{place}: " if place else "") + error.message[:MAX_SHOWN]


@lru_cache(maxsize=256)
def _checker(text: str) -> Validator | None:
    schema = json.loads(text)
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError):
        return None
    if schema.get("properties") and "patternProperties" not in schema:
        schema.setdefault("additionalProperties", False)
    return _Checker(schema)
