"""The one place that turns data into prompts, for training and for serving.

Pure: no torch, no transformers. A training line of any accepted shape becomes a `Conversation`
(chat messages), the base model's `ChatTemplate` makes it text. A job's data becomes the messages
that a training line with the same input would have had.

    {"input": x, "output": y}                     x and y any JSON
    {"prompt": x, "completion": y}                the same
    {"instruction": t, "input"?: x, "output": y}  Alpaca
    {"messages": [...], "tools"?: [...]}          OpenAI; assistant messages may carry "weight": 0
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helox.calls import ordered_arguments, ordered_tools, parsed_arguments
from helox.errors import LineError
from helox.template import ChatTemplate, Message

__all__ = [
    "ChatTemplate",
    "Conversation",
    "LineError",
    "Message",
    "content_of",
    "fields_of",
    "messages_of_chat",
    "prompt_of_job",
    "split_answer",
    "to_messages",
]

ROLES = ("system", "developer", "user", "assistant", "tool")
MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "weight")


@dataclass(frozen=True)
class Conversation:
    """Chat messages to learn from, ending with an assistant message, and the tools on offer."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] | None = None


@dataclass(frozen=True)
class _Shape:
    """One accepted form of a line: the keys it must have, and those it may have."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


MESSAGES = _Shape(("messages",), ("tools", "parallel_tool_calls"))
ALPACA = _Shape(("instruction", "output"), ("input",))
INPUT_OUTPUT = _Shape(("input", "output"))
PROMPT_COMPLETION = _Shape(("prompt", "completion"))
SHAPES = (MESSAGES, ALPACA, INPUT_OUTPUT, PROMPT_COMPLETION)


def content_of(value: Any) -> str:
    """Text as it is; any other JSON value in one canonical form, so that equal data reads equal."""
    if isinstance(value, str):
        return value
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def prompt_of_job(data: Any) -> list[Message]:
    """The prompt for a job's data: {"input": x} asks exactly what a training line's x asked."""
    if isinstance(data, Mapping) and set(data) == {"input"}:
        data = data["input"]
    return [{"role": "user", "content": content_of(data)}]


def messages_of_chat(messages: Any) -> list[Message]:
    """The messages of a conversation that the model is to go on with, as a training line's.

    Raises:
        LineError: names the field, and what is wrong with it.
    """
    if not isinstance(messages, list) or not messages:
        raise LineError("messages", "must be a list of at least one message")
    cleaned = [_said(message, f"messages[{i}]") for i, message in enumerate(messages)]
    _order_calls(cleaned, ())
    return cleaned


def fields_of(line: Mapping[str, Any]) -> frozenset[str]:
    """The keys of a line that mean something; the others are carried along unread."""
    shape = _shape_of(line)
    return frozenset(shape.required + shape.optional)


def to_messages(line: Mapping[str, Any]) -> Conversation:
    """A training line as chat messages.

    Raises:
        LineError: names the field, and what is wrong with it.
    """
    shape = _shape_of(line)
    if shape is MESSAGES:
        return _of_messages(line)
    if shape is ALPACA:
        prompt = _required_text(line, "instruction")
        if line.get("input") not in (None, ""):
            prompt = f"{prompt}\n\n{content_of(line['input'])}"
        answer = _content(line, "output")
    else:
        prompt, answer = (_content(line, field) for field in shape.required)
    return Conversation(
        ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
    )


def split_answer(conversation: Conversation) -> tuple[list[Message], Message]:
    """The messages before the last assistant message, and that message: question and answer."""
    return list(conversation.messages[:-1]), conversation.messages[-1]


def _shape_of(line: Mapping[str, Any]) -> _Shape:
    if not isinstance(line, Mapping):
        raise LineError("line", "must be a JSON object")
    matches = [shape for shape in SHAPES if all(key in line for key in shape.required)]
    if ALPACA in matches and INPUT_OUTPUT in matches:
        matches.remove(INPUT_OUTPUT)  # Alpaca has an input of its own
    if len(matches) == 1:
        return matches[0]
    if matches:
        keys = " and ".join("+".join(shape.required) for shape in matches)
        raise LineError(matches[0].required[0], f"the line has two forms at once: {keys}")
    for shape in SHAPES:
        missing = [key for key in shape.required if key not in line]
        if len(missing) < len(shape.required):
            raise LineError(missing[0], "is missing")
    raise LineError(
        "line",
        "has none of the known forms: input+output, prompt+completion, instruction+output, "
        "messages",
    )


def _content(line: Mapping[str, Any], field: str) -> str:
    value = line[field]
    if value is None:
        raise LineError(field, "must not be null")
    try:
        text = content_of(value)
    except (TypeError, ValueError) as error:
        raise LineError(field, f"is not JSON: {error}") from error
    if not text.strip():
        raise LineError(field, "must not be empty")
    return text


def _required_text(line: Mapping[str, Any], field: str, where: str | None = None) -> str:
    value, where = line[field], where or field
    if not isinstance(value, str):
        raise LineError(where, "must be text")
    if not value.strip():
        raise LineError(where, "must not be empty")
    return value


def _of_messages(line: Mapping[str, Any]) -> Conversation:
    messages = line["messages"]
    if not isinstance(messages, list) or not messages:
        raise LineError("messages", "must be a list of at least one message")
    cleaned = [_taught(message, f"messages[{i}]") for i, message in enumerate(messages)]
    answers = [i for i, message in enumerate(cleaned) if message["role"] == "assistant"]
    if not answers:
        raise LineError("messages", "must contain an assistant message to learn from")
    if answers[0] == 0:
        raise LineError("messages[0].role", "the first message must not be the assistant's")
    tools = _tools(line.get("tools"))
    _order_calls(cleaned, tools or ())
    # Nothing after the last answer is learned from, so nothing after it is rendered.
    return Conversation(tuple(cleaned[: answers[-1] + 1]), tools)


def _taught(message: Any, where: str) -> Message:
    """A message of a training line: from an empty answer nothing is learned."""
    clean = _said(message, where)
    if clean["role"] == "assistant" and not clean["content"].strip() and "tool_calls" not in clean:
        raise LineError(f"{where}.content", "must not be empty")
    return clean


def _said(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping):
        raise LineError(where, "must be an object with role and content")
    role = message.get("role")
    if role not in ROLES:
        raise LineError(f"{where}.role", f"must be one of {', '.join(ROLES)}")
    clean: Message = {"role": "system" if role == "developer" else role}
    # Clients write out what was not said: `refusal: null`, `annotations: []`.
    given = {key for key, value in message.items() if value is not None and value != []}
    unknown = sorted(given - set(MESSAGE_FIELDS))
    if unknown:
        raise LineError(f"{where}.{unknown[0]}", "is not a field of a message")
    calls = message.get("tool_calls")
    if calls is not None and calls != []:
        if role != "assistant":
            raise LineError(f"{where}.tool_calls", "only an assistant message may call tools")
        clean["tool_calls"] = _tool_calls(calls, f"{where}.tool_calls")
    clean["content"] = _message_content(message.get("content"), f"{where}.content")
    for key in ("name", "tool_call_id"):
        if message.get(key) is not None:
            clean[key] = _required_text(message, key, f"{where}.{key}")
    weight = message.get("weight")
    if weight is not None:
        if role != "assistant" or isinstance(weight, bool) or weight not in (0, 1):
            raise LineError(f"{where}.weight", "must be 0 or 1, on an assistant message")
        clean["weight"] = int(weight)
    return clean


def _message_content(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if all(isinstance(text, str) for text in texts):
            return "".join(str(text) for text in texts)
    raise LineError(where, "must be text, or a list of text parts")


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list) or not calls:
        raise LineError(where, "must be a list of at least one call")
    cleaned = []
    for i, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise LineError(f"{where}[{i}].function.name", "must be text")
        # OpenAI sends arguments as JSON text, templates print objects.
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            arguments = parsed_arguments(arguments, f"{where}[{i}].function.arguments")
        if not isinstance(arguments, Mapping):
            raise LineError(f"{where}[{i}].function.arguments", "must be an object")
        clean = {"name": function["name"], "arguments": dict(arguments)}
        cleaned.append({**call, "type": "function", "function": clean})
    return cleaned


def _tools(tools: Any) -> tuple[dict[str, Any], ...] | None:
    if tools is None:
        return None
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise LineError("tools", "must be a list")
    for i, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise LineError(f"tools[{i}].function.name", "must be text")
        if not isinstance(function.get("parameters", {}), (Mapping, type(None))):
            raise LineError(f"tools[{i}].function.parameters", "must be a JSON schema, an object")
    return ordered_tools(tools) or None


def _order_calls(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> None:
    """Put the arguments of each call into its tool's order, in place."""
    by_name = {tool["function"]["name"]: tool for tool in tools}
    for message in messages:
        for call in message.get("tool_calls", ()):
            function = call["function"]
            function["arguments"] = ordered_arguments(
                function["arguments"], by_name.get(function["name"])
            )
