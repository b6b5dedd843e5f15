"""Rows that ask the same thing: duplicates when they answer alike, contradictions when not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from helox.forms import Conversation
from helox.forms.values import content_of
from helox.template import Message

MAX_PAIRS = 200
MAX_SHOWN = 120  # characters of a text

Digest = bytes


@dataclass(frozen=True)
class Pair:
    """Two lines that answer one question differently."""

    lines: tuple[int, int]
    question: str
    answers: tuple[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "lines": list(self.lines),
            "question": self.question,
            "answers": list(self.answers),
        }


@dataclass
class Repeats:
    """What was seen so far. Texts are kept as digests; of answers, their beginning is kept too."""

    duplicates: list[int] = field(default_factory=list)  # lines that repeat an earlier one
    contradictions: list[int] = field(default_factory=list)  # lines that answer otherwise
    pairs: list[Pair] = field(default_factory=list)
    _seen: dict[Digest, dict[Digest, tuple[int, str]]] = field(default_factory=dict)

    def add(self, line: int, conversation: Conversation) -> None:
        question, answer = _canonical(conversation)
        seen = self._seen.setdefault(_digest(question), {})
        digest = _digest(answer)
        if digest in seen:
            self.duplicates.append(line)
            return
        shown = _shown(conversation.messages[-1])
        if seen:
            self.contradictions.append(line)
            if len(self.pairs) < MAX_PAIRS:
                first, other = next(iter(seen.values()))
                asked = conversation.messages[-2]["content"][:MAX_SHOWN]
                self.pairs.append(Pair((first, line), asked, (other, shown)))
        seen[digest] = (line, shown)


def canonical_text(text: str) -> str:
    """A JSON object or list in one form whatever the order of its keys; any other text as it is."""
    if text[:1] not in ("{", "["):
        return text
    try:
        return content_of(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _canonical(conversation: Conversation) -> tuple[str, str]:
    messages = [unordered(message) for message in conversation.messages]
    return content_of([messages[:-1], conversation.tools]), content_of(messages[-1])


def unordered(message: Message) -> Message:
    """A message as it counts for what is the same: an answer's keys in one order, no weight."""
    if message["role"] != "assistant":
        return message
    kept = {key: value for key, value in message.items() if key != "weight"}
    return {**kept, "content": canonical_text(message["content"])}


def _digest(text: str) -> Digest:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _shown(message: Message) -> str:
    calls = message.get("tool_calls")
    text = content_of([call["function"] for call in calls]) if calls else message["content"]
    return str(text)[:MAX_SHOWN]
