"""Conversation to tokens, with a mask that says which of them the loss is taken over.

Trained are the assistant's tokens alone, up to and with the token that ends the turn. The prompt
is tokenised exactly as it will be in serving, so a token never straddles prompt and answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helox.errors import LineError
from helox.fit import NO_TOOLS
from helox.render import ChatTemplate, Conversation

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from helox.base import Base


@dataclass(frozen=True)
class Example:
    """One sequence. `trained[i]` is 1 where token i is to be predicted, else 0."""

    ids: tuple[int, ...]
    trained: bytes
    line: int
    full_length: int  # tokens before truncation
    part: int = 0  # which of its line's examples, from 0

    @property
    def truncated(self) -> bool:
        return self.full_length > len(self.ids)

    @property
    def trained_tokens(self) -> int:
        return sum(self.trained[1:])  # nothing predicts the first


class Encoder:
    """Turns conversations into examples of at most `max_length` tokens."""

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: Tokenizer,
        stop_ids: Sequence[int],
        max_length: int,
    ) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self._stop_ids = frozenset(stop_ids)
        self._appended_stop_id = stop_ids[0]
        self.max_length = max_length

    @classmethod
    def of(cls, base: Base, max_length: int) -> Encoder:
        return cls(base.template, base.tokenizer, base.stop_ids, max_length)

    def encode(self, conversation: Conversation, line: int = 0) -> list[Example]:
        """One example for a conversation, or one for each answer in it.

        A template may rewrite earlier turns when a later one follows (dropping the reasoning, say),
        or write no token at the end of a turn. Then no single sequence shows each answer, with its
        end, behind the prompt that serving would give it.

        Raises:
            LineError: the template refuses the messages, or leaves out something that they say.
        """
        messages, tools = conversation.messages, conversation.tools
        if tools and not self.template.traits.tools:
            raise LineError("tools", NO_TOOLS)
        answers = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
        answers = [i for i in answers if messages[i].get("weight", 1) != 0]
        if not answers:  # nothing to learn: kept as a fully masked example, to be counted
            text = self.template.render(messages, tools=tools)
            ids = self._ids(text)
            return [self._truncate(ids, bytes(len(ids)), line)]
        spans = [self.template.span(messages, i, tools) for i in answers]
        last = spans[-1][0] + spans[-1][1]
        ends = self.template.traits.end is not None or len(spans) == 1
        if ends and all(last.startswith(prompt + answer) for prompt, answer in spans):
            return [self._example(spans, line)]
        return [self._example([span], line, part) for part, span in enumerate(spans)]

    def _example(self, spans: Sequence[tuple[str, str]], line: int, part: int = 0) -> Example:
        """`spans` are (prompt, answer) texts, each prompt continuing the span before it."""
        ids: list[int] = []
        trained = bytearray()
        text = ""
        for prompt, answer in spans:
            self._extend(ids, text, prompt)
            trained.extend(bytes(len(ids) - len(trained)))
            start = len(ids)
            text = prompt + answer
            self._extend(ids, prompt, text)
            stop = self._first_stop(ids, start)
            if stop is None and (prompt, answer) == spans[-1]:
                ids.append(self._appended_stop_id)
                stop = len(ids) - 1
            end = len(ids) if stop is None else stop + 1
            # What the template writes behind the stop token is never generated.
            trained.extend(b"\1" * (end - start) + bytes(len(ids) - end))
        return self._truncate(ids, bytes(trained), line, part)

    def _extend(self, ids: list[int], text: str, longer: str) -> None:
        """Appends the tokens of `longer` behind those of its beginning `text`, in place."""
        whole = self._ids(longer)
        if whole[: len(ids)] == ids:
            ids.extend(whole[len(ids) :])
        else:  # a token would straddle the border: serving could never produce it
            ids.extend(self._ids(longer[len(text) :]))

    def _first_stop(self, ids: Sequence[int], start: int) -> int | None:
        """Where serving would stop."""
        return next((i for i in range(start, len(ids)) if ids[i] in self._stop_ids), None)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _truncate(self, ids: Sequence[int], trained: bytes, line: int, part: int = 0) -> Example:
        limit = self.max_length
        return Example(tuple(ids[:limit]), trained[:limit], line, len(ids), part)
