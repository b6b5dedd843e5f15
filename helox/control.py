"""Control tokens written out in data: an end token that somebody's export left in, a chat's markup.

A model that learns to spell its end token out never ends. In answers the base's own tokens are
taken out wherever they stand, and those of other families at the end, where they mean the end.
Elsewhere they are reported: the template shows them as text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from helox.forms.conversation import Conversation
from helox.template import Message

# What well-known families end a turn with.
FAMILIES_ENDS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|eos|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
    "<｜end▁of▁sentence｜>",
)
# What only a template writes; in data it is a chat that was rendered already.
MARKUP = re.compile(
    r"<\|[A-Za-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<｜[^｜>]{2,30}｜>"
)


@dataclass
class Found:
    """Tokens by how often they stood there."""

    stripped: Counter[str] = field(default_factory=Counter)  # taken out of answers
    shown: Counter[str] = field(default_factory=Counter)  # left where they are, as text


@dataclass(frozen=True)
class ControlTokens:
    """The base's own control tokens; none where the base is not known."""

    own: tuple[str, ...] = ()

    @cached_property
    def _own(self) -> re.Pattern[str] | None:
        names = "|".join(re.escape(t) for t in sorted(self.own, key=lambda t: (-len(t), t)))
        return re.compile(names) if names else None

    @cached_property
    def _at_end(self) -> re.Pattern[str]:
        names = "|".join(re.escape(token) for token in (*self.own, *FAMILIES_ENDS))
        return re.compile(rf"\s*({names})\s*\Z")

    def strip(self, text: str, found: Found) -> str:
        """An answer without control tokens, and without the blanks that stood before a last one."""
        while (last := self._at_end.search(text)) is not None:
            if last[1] == "</s>" and "<s>" in text and "</s>" not in self.own:
                break  # HTML that strikes a text out
            found.stripped[last[1]] += 1
            text = text[: last.start()]
        if self._own is not None:
            found.stripped.update(self._own.findall(text))
            text, count = self._own.subn("", text)
            if count:
                text = text.strip()
        found.shown.update(MARKUP.findall(text))
        return text

    def look(self, text: str, found: Found) -> None:
        """Count what stands in a question."""
        if self._own is not None:
            found.shown.update(self._own.findall(text))
        found.shown.update(t for t in MARKUP.findall(text) if t not in self.own)


def without_control(
    conversation: Conversation, control: ControlTokens
) -> tuple[Conversation, Found]:
    """The conversation with clean answers, and what was found in it."""
    found = Found()
    messages: list[Message] = []
    for message in conversation.messages:
        if message["role"] != "assistant":
            control.look(message["content"], found)
        elif message["content"]:
            message = {**message, "content": control.strip(message["content"], found)}
        messages.append(message)
    if not found.stripped:
        return conversation, found
    return replace(conversation, messages=tuple(messages)), found


def control_of(tokens: Sequence[str]) -> ControlTokens:
    """Of a base's template: `ChatTemplate.control_tokens`."""
    return ControlTokens(tuple(tokens))
