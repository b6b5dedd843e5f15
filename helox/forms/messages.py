"""One message of a chat, in whichever of the usual ways it is written, as the template reads it.

{"role": "user", "content": "..."}                          OpenAI; content may be text parts
{"role": "assistant", "tool_calls": [...], "weight": 0}
{"role": "assistant", "function_call": {...}}               before tools
{"role": "function", "name": "...", "content": "..."}
{"from": "human", "value": "..."}                           ShareGPT
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helox.calls import ordered_arguments, parsed_arguments
from helox.errors import LineError
from helox.forms.conversation import Tools
from helox.forms.values import BLANKS, from_json_text, is_blank
from helox.template import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "weight")
# Read and turned into the fields above.
TURNED_FIELDS = ("from", "value", "function_call", "refusal")
# Servers send these with an answer, and clients send them back; they are not part of what was said.
ECHOED_FIELDS = (
    "annotations",
    "audio",
    "id",
    "provider_specific_fields",
    "reasoning",
    "reasoning_content",
    "thinking_blocks",
)
# ShareGPT's names of those who speak.
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "system": "system",
    "tool": "tool",
    "tool_response": "tool",
    "function": "tool",
    "function_response": "tool",
    "observation": "tool",
}
CALLING_SPEAKERS = ("function_call", "tool_call")
NO_ID = ""  # of a call in the form that came before tools


def messages_of_chat(messages: Any, tools: Tools | None = None) -> list[Message]:
    """The messages of a conversation that the model is to go on with, as a training line's.

    Raises:
        LineError: names the field, and what is wrong with it.
    """
    return cleaned_messages(messages, tools, echoed=True)


def cleaned_messages(
    messages: Any, tools: Tools | None = None, where: str = "messages", *, echoed: bool = False
) -> list[Message]:
    """Messages in the one form that templates read, calls in their tools' order.

    `echoed`: fields that a client sends back with an answer are no mistake. Raises `LineError`.
    """
    messages = from_json_text(messages, where) if _may_be_json(messages) else messages
    if not isinstance(messages, list) or not messages:
        raise LineError(where, "must be a list of at least one message")
    cleaned = [_said(message, f"{where}[{i}]", echoed) for i, message in enumerate(messages)]
    _name_calls(cleaned)
    by_name = {tool["function"]["name"]: tool for tool in tools or ()}
    for message in cleaned:
        for call in message.get("tool_calls", ()):
            function = call["function"]
            function["arguments"] = ordered_arguments(
                function["arguments"], by_name.get(function["name"])
            )
    return cleaned


def looks_like_messages(value: Any) -> bool:
    """Whether a value is a list of chat messages, and not data that happens to be a list."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, Mapping) and _speaks(item) for item in value)
    )


def _speaks(item: Mapping[str, Any]) -> bool:
    known = item.get("role") in (*ROLES, "function") or item.get("from") in SPEAKERS
    return known and set(item) <= {*MESSAGE_FIELDS, *TURNED_FIELDS, *ECHOED_FIELDS}


def require_content(messages: Sequence[Message], where: str = "messages") -> None:
    """Nothing can be learned about a question that is not there. Raises `LineError`."""
    for i, message in enumerate(messages):
        if message["role"] == "user" and is_blank(message["content"]):
            raise LineError(f"{where}[{i}].content", "must not be empty")


def require_answers(messages: Sequence[Message], where: str = "messages") -> None:
    """From an empty answer nothing is learned. Raises `LineError`."""
    for i, message in enumerate(messages):
        says = not is_blank(message["content"]) or "tool_calls" in message
        if message["role"] == "assistant" and not says:
            raise LineError(f"{where}[{i}].content", "must not be empty")


def _may_be_json(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip(BLANKS).startswith("[")


def _said(message: Any, where: str, echoed: bool) -> Message:
    if not isinstance(message, Mapping):
        raise LineError(where, "must be an object with role and content")
    # Clients write out what was not said: `refusal: null`, `annotations: []`.
    given = {
        str(key).strip(BLANKS): value
        for key, value in message.items()
        if value is not None and value != [] and value != {}
    }
    if echoed:
        given = {key: value for key, value in given.items() if key not in ECHOED_FIELDS}
    if "from" in given or ("value" in given and "role" in given):
        given = _from_sharegpt(given, where)
    role = given.get("role")
    if role == "function":
        role = "tool"
    if role not in ROLES:
        names = ", ".join(ROLES)
        raise LineError(f"{where}.role", f"must be one of {names}; it is {str(role)[:40]!r}")
    clean: Message = {"role": "system" if role == "developer" else role}
    _refuse_unknown(given, where)
    calls = _calls_in(given, role, where)
    if calls:
        clean["tool_calls"] = calls
    content = given.get("content")
    if is_refusal(given):
        content = given["refusal"]
    clean["content"] = _text_of(content, f"{where}.content")
    for key in ("name", "tool_call_id"):
        if key in given:
            clean[key] = _required_text(given[key], f"{where}.{key}")
    if "weight" in given:
        weight = given["weight"]
        if role != "assistant" or isinstance(weight, bool) or weight not in (0, 1):
            raise LineError(f"{where}.weight", "must be 0 or 1, on an assistant message")
        clean["weight"] = int(weight)
    return clean


def is_refusal(message: Mapping[str, Any]) -> bool:
    """An answer that says what it says under `refusal`, and nothing under `content`."""
    refusal = message.get("refusal")
    return isinstance(refusal, str) and bool(refusal.strip()) and not message.get("content")


def _refuse_unknown(given: Mapping[str, Any], where: str) -> None:
    known = (*MESSAGE_FIELDS, "function_call", "refusal")
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise LineError(f"{where}.{unknown[0]}", "is not a field of a message")


def _from_sharegpt(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    speaker = given.get("from", given.get("role"))
    if speaker not in SPEAKERS:
        names = ", ".join(sorted(SPEAKERS))
        raise LineError(f"{where}.from", f"must be one of {names}; it is {str(speaker)[:40]!r}")
    rest = {key: value for key, value in given.items() if key not in ("from", "value")}
    said = given.get("value", given.get("content"))
    if speaker in CALLING_SPEAKERS:
        found = from_json_text(said, f"{where}.value")
        functions = found if isinstance(found, list) else [found]
        calls = [{"type": "function", "function": function} for function in functions]
        return {**rest, "role": "assistant", "content": None, "tool_calls": calls}
    return {**rest, "role": SPEAKERS[str(speaker)], "content": said}


def _text_of(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if all(isinstance(text, str) for text in texts):
            return "".join(str(text) for text in texts)
    raise LineError(where, "must be text, or a list of text parts")


def _required_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise LineError(where, "must be text")
    if not value.strip():
        raise LineError(where, "must not be empty")
    return value


def _calls_in(given: Mapping[str, Any], role: Any, where: str) -> list[dict[str, Any]]:
    calls, field = given.get("tool_calls"), f"{where}.tool_calls"
    old = given.get("function_call")
    if calls is None and old is None:
        return []
    if role != "assistant":
        raise LineError(field, "only an assistant message may call tools")
    if old is not None:
        if calls is not None:
            raise LineError(f"{where}.function_call", "is the old name of tool_calls; send one")
        if not isinstance(old, Mapping) or not isinstance(old.get("name"), str):
            raise LineError(f"{where}.function_call.name", "must be text")
        arguments = _arguments(old.get("arguments"), f"{where}.function_call.arguments")
        return [_call({"id": NO_ID}, str(old["name"]), arguments)]
    if not isinstance(calls, list):
        raise LineError(field, "must be a list of at least one call")
    cleaned = []
    for i, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise LineError(f"{field}[{i}].function.name", "must be text")
        arguments = _arguments(function.get("arguments"), f"{field}[{i}].function.arguments")
        rest = {key: value for key, value in call.items() if value is not None}
        cleaned.append(_call(rest, function["name"], arguments))
    return cleaned


def _call(rest: Mapping[str, Any], name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    # Some templates print the whole call.
    identity = {"id": rest["id"]} if "id" in rest else {}
    function = {"name": name, "arguments": dict(arguments)}
    other = {key: rest[key] for key in sorted(rest) if key not in ("id", "type", "function")}
    return {**identity, "type": "function", "function": function, **other}


def _arguments(arguments: Any, where: str) -> Mapping[str, Any]:
    """OpenAI sends arguments as JSON text, templates print objects."""
    if arguments is None:
        return {}
    if isinstance(arguments, str):
        arguments = parsed_arguments(arguments, where)
    if not isinstance(arguments, Mapping):
        raise LineError(where, "must be an object")
    return arguments


def _name_calls(messages: Sequence[Message]) -> None:
    """Calls and their answers that were told apart by name or place alone are told apart by id.

    Some templates refuse an answer without one. In place.
    """
    waiting: list[str] = []
    for number, message in enumerate(messages, start=1):
        for call in message.get("tool_calls", ()):
            if call.get("id") == NO_ID:
                call["id"] = f"call{number:05d}"
            if isinstance(call.get("id"), str):
                waiting.append(call["id"])
        if message["role"] == "tool":
            answered = message.get("tool_call_id")
            if answered is None and waiting:
                message["tool_call_id"] = answered = waiting[0]
            if answered in waiting:
                waiting.remove(answered)
