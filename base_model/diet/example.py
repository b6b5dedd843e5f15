"""A generator's output: pieces of text or token ids, each with its weight in the loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
END = "<|end|>"


@dataclass(frozen=True)
class Piece:
    """Text (or token ids) with its loss `weight`; 0 is context that is not learned."""

    content: str | list[int]
    weight: float


Example = list[Piece]


def text(content: str) -> Example:
    """Running text, all of it learned, closed by the end token."""
    return [Piece(content + END, 1.0)]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _turn(message: Message) -> str:
    out = message.get("content") or ""
    for call in message.get("tool_calls", []):
        function = call.get("function", call)
        arguments = function["arguments"]
        if not isinstance(arguments, str):
            arguments = _json(arguments)
        out += f'<|tool_call|>{{"name": {_json(function["name"])}, "arguments": {arguments}}}'
    return out + END


def chat(messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> Example:
    """A conversation exactly as chat_template.jinja renders it; only assistant turns are learned.

    A message may carry a `weight` for its turn.
    """
    pieces: Example = []
    context = ""
    if tools:
        context = "<|tools|>" + "\n".join(_json(t.get("function", t)) for t in tools) + END
    for message in messages:
        context += f"<|{message['role']}|>"
        if message["role"] == "assistant":
            pieces += [Piece(context, 0.0), Piece(_turn(message), message.get("weight", 1.0))]
            context = ""
        else:
            context += _turn(message)
    return pieces


def ask(question: str, answer: str, system: str | None = None) -> Example:
    """One question with its answer."""
    messages = [{"role": "system", "content": system}] if system else []
    return chat(
        [*messages, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    )
