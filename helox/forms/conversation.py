"""What a row says once it is read: chat messages, and the tools on offer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from helox.template import Message

Tools = tuple[dict[str, Any], ...]
NoteKind = Literal["ending", "tools", "refusal", "hint"]


@dataclass(frozen=True)
class Note:
    """Something about a row that its sender should know, though the row is used."""

    kind: NoteKind
    field: str
    message: str


@dataclass(frozen=True)
class Question:
    """What is asked: chat messages that a model is to go on with, and the tools on offer."""

    messages: tuple[Message, ...]
    tools: Tools | None = None


@dataclass(frozen=True)
class Conversation:
    """Chat messages to learn from, ending with an assistant message, and the tools on offer."""

    messages: tuple[Message, ...]
    tools: Tools | None = None
    notes: tuple[Note, ...] = field(default=(), compare=False)


def split_answer(conversation: Conversation) -> tuple[list[Message], Message]:
    """The messages before the last assistant message, and that message: question and answer."""
    return list(conversation.messages[:-1]), conversation.messages[-1]
