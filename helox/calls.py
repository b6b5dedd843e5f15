"""How the base model's chat template writes tools and calls: one form, in training and serving.

A language model reads order as meaning. So tools and arguments have one order here, whichever way
they came: tools by name, a tool's parameters as its schema lists them, and the arguments of a call
likewise, at every level.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helox.errors import LineError, UnfitTemplate
from helox.json_text import unique_keys
from helox.nesting import TOO_DEEP, is_too_deep
from helox.template import ChatTemplate, Message

JsonObject = dict[str, Any]

# Keys in the order in which people write them; all others follow by name.
TOOL_KEYS = ("name", "description", "parameters")
SCHEMA_KEYS = ("type", "description", "enum", "properties", "items", "required")
# (item, key) separators of JSON: Jinja's own filter, and the compact form.
SEPARATORS = ((", ", ": "), (",", ":"))

# Names that no template prints by itself.
_NAME = "probe_name_qz"
_ARGUMENTS = {"probe_first_qz": "x", "probe_second_qz": "y"}
# Some templates accept exactly nine letters and digits.
CALL_ID = "call00001"


def ordered_tools(tools: Sequence[Mapping[str, Any]]) -> tuple[JsonObject, ...]:
    """Tools by name, each in OpenAI's form: {type, function: {name, description, parameters}}."""
    ordered = [_ordered_tool(tool) for tool in tools]
    return tuple(sorted(ordered, key=lambda tool: str(tool["function"]["name"])))


def _ordered_tool(tool: Mapping[str, Any]) -> JsonObject:
    function = dict(tool["function"])
    if isinstance(function.get("parameters"), Mapping):
        function["parameters"] = _schema(function["parameters"])
    # Some templates print the whole tool.
    rest = {key: tool[key] for key in sorted(tool) if key not in ("type", "function")}
    return {"type": "function", "function": _by(function, TOOL_KEYS), **rest}


def ordered_arguments(arguments: Mapping[str, Any], tool: Mapping[str, Any] | None) -> JsonObject:
    """A call's arguments in the order of the tool's schema, then what it does not name, as it came.

    An argument that is null is absent, unless the schema requires it.
    """
    parameters = (tool or {}).get("function", {}).get("parameters") or {}
    ordered: JsonObject = _ordered(arguments, parameters)
    return ordered


def _ordered(value: Any, schema: Any) -> Any:
    """A value in its schema's order."""
    if isinstance(value, list):
        items = schema.get("items") if isinstance(schema, Mapping) else None
        return [_ordered(item, items) for item in value]
    if not isinstance(value, Mapping):
        return value
    schema = schema if isinstance(schema, Mapping) else {}
    properties, required = schema.get("properties"), schema.get("required")
    properties = properties if isinstance(properties, Mapping) else {}
    required = required if isinstance(required, list) else []
    said = {k: v for k, v in value.items() if v is not None or k in required}
    keys = dict.fromkeys([*(key for key in properties if key in said), *said])
    return {key: _ordered(said[key], properties.get(key)) for key in keys}


def parsed_arguments(text: str, where: str) -> Any:
    """A call's arguments from JSON text; no text is no arguments.

    Raises:
        LineError: names `where`; also for what could not be written down again.
    """
    too_deep = LineError(where, TOO_DEEP)
    try:
        value = json.loads(text or "{}", object_pairs_hook=unique_keys)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise too_deep from None
    except UnicodeEncodeError as error:
        raise LineError(where, "holds half a surrogate pair") from error
    except ValueError as error:
        raise LineError(where, f"is not JSON: {error}") from error
    if is_too_deep(value):
        raise too_deep
    return value


def _schema(schema: Mapping[str, Any]) -> JsonObject:
    """A JSON schema and those inside it: keywords in one order, properties in their own."""
    return {
        key: {name: _inner(inner) for name, inner in value.items()}
        if key == "properties" and isinstance(value, Mapping)
        else _inner(value)
        for key, value in _by(schema, SCHEMA_KEYS).items()
    }


def _inner(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _schema(value)
    return [_inner(item) for item in value] if isinstance(value, list) else value


def _by(values: Mapping[str, Any], first: Sequence[str]) -> JsonObject:
    keys = dict.fromkeys([*(key for key in first if key in values), *sorted(values)])
    return {key: values[key] for key in keys}


@dataclass(frozen=True)
class CallFormat:
    """A call as the template writes it: prefix, name, middle, arguments (JSON), closing.

    `separators` are the (item, key) separators of the arguments' JSON.
    """

    prefix: str
    middle: str
    closing: str
    separators: tuple[str, str]

    @classmethod
    def of(cls, template: ChatTemplate) -> CallFormat | None:
        """The template's form of a call; None where it has none that can be told from text."""
        call = {
            "id": CALL_ID,
            "type": "function",
            "function": {"name": _NAME, "arguments": _ARGUMENTS},
        }
        asked: list[Message] = [{"role": "user", "content": "x"}]
        answer: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
        tools = [{"type": "function", "function": {"name": _NAME, "parameters": {}}}]
        try:
            _, written = template.span([*asked, answer], 1, tools)
        except (LineError, UnfitTemplate):
            return None
        return cls._read(written, template.traits.end or template.special_tokens.get("eos_token"))

    @classmethod
    def _read(cls, written: str, end: str | None) -> CallFormat | None:
        for separators in SEPARATORS:
            arguments = json.dumps(_ARGUMENTS, separators=separators)
            head, found, tail = written.partition(arguments)
            prefix, named, middle = head.partition(_NAME)
            if found and named and prefix.strip():
                closing = tail.partition(end)[0] if end else tail
                return cls(prefix, middle, closing, separators)
        return None

    def write(self, name: str, arguments: Mapping[str, Any]) -> str:
        """The call's text."""
        text = json.dumps(arguments, ensure_ascii=False, separators=self.separators)
        return f"{self.prefix}{_inside(name)}{self.middle}{text}{self.closing}"

    def read(self, text: str) -> tuple[str, JsonObject] | None:
        """Name and arguments of the call that `text` is; None for a text that is no call.

        Raises ValueError for a call that is cut off or broken.
        """
        if not text.startswith(self.prefix):
            return None
        name, found, rest = text.removeprefix(self.prefix).partition(self.middle)
        if not found:
            raise ValueError("the call breaks off in its name")
        arguments, end = json.JSONDecoder().raw_decode(rest)
        if rest[end:].strip() != self.closing.strip() or not isinstance(arguments, dict):
            raise ValueError("the call does not end as it should")
        return str(json.loads(f'"{name}"')), arguments


def _inside(name: str) -> str:
    """A name as it stands between the quotes of a JSON string."""
    return json.dumps(name, ensure_ascii=False)[1:-1]
