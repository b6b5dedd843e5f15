"""Messages made fit for a chat template that does not take all of them, with all that they say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from helox.errors import LineError

if TYPE_CHECKING:
    from helox.probe import Traits

Message = dict[str, Any]

CALL_ID = "call{:05}"  # some templates accept exactly nine letters and digits
PARAGRAPH = "\n\n"
NO_TOOLS = "the base model's chat template has no form for tools"
THINK_START = re.compile(r"[<\[]\|?\w*think\w*\|?[>\]]", re.IGNORECASE)
THINK_END = re.compile(r"[<\[]\|?/\w*think\w*\|?[>\]]", re.IGNORECASE)


def fitted(messages: Sequence[Message], traits: Traits) -> list[Message]:
    """Messages that the template accepts, with all that they say.

    Raises:
        LineError: they call tools, and the template has no form for that.
    """
    found: list[Message] = []
    waiting: list[str] = []  # system messages, for the next user message to begin with
    for i, message in enumerate(_numbered(messages)):
        if not traits.tools and (message["role"] == "tool" or message.get("tool_calls")):
            raise LineError(f"messages[{i}]", NO_TOOLS)
        if traits.folds_system and message["role"] == "system":
            waiting.append(message["content"])
            continue
        if message["role"] == "user" and waiting:
            message = {**message, "content": PARAGRAPH.join([*waiting, message["content"]])}
            waiting = []
        if traits.joins_users and found and {found[-1]["role"], message["role"]} == {"user"}:
            before = found.pop()["content"]
            message = {**message, "content": PARAGRAPH.join([before, message["content"]])}
        found.append(message)
    if waiting:
        raise LineError(
            "messages",
            "the base model's chat template takes no system messages, and no user message follows "
            "that could begin with it",
        )
    return found


def _numbered(messages: Sequence[Message]) -> list[Message]:
    """With call ids that count the calls of a message: ids by chance would be learned."""
    found: list[Message] = []
    new_ids: dict[Any, str] = {}
    for message in messages:
        if calls := message.get("tool_calls"):
            new_ids = {call.get("id"): CALL_ID.format(n) for n, call in enumerate(calls, start=1)}
            numbered = [{**call, "id": CALL_ID.format(n)} for n, call in enumerate(calls, start=1)]
            message = {**message, "tool_calls": numbered}
        elif message["role"] == "tool":
            given = message.get("tool_call_id")
            message = {**message, "tool_call_id": new_ids.get(given, CALL_ID.format(1))}
        found.append(message)
    return found


def refuse_loss(message: Message, where: str, prompt: str, written: str | None) -> None:
    """Nothing that an answer says may be missing from the text that is learned.

    Args:
        message: an assistant message, its control tokens spelled apart.
        where: its field.
        prompt: the text before its answer, which may open its block of reasoning.
        written: its answer as the template writes it behind the prompt; None where it does not.

    Raises:
        LineError: names what is missing.
    """
    content = _compact(message.get("content") or "")
    opening = THINK_START.match(content)
    if opening is not None and _compact(prompt).endswith(opening[0]):
        content = content[opening.end() :]
    if written is None or content not in _compact(written):
        if THINK_END.search(content):
            problem = (
                "holds reasoning, which the base model's chat template leaves out of an answer "
                "while enable_thinking is off: send the answer without it"
            )
        elif message.get("tool_calls"):
            problem = "the base model's chat template writes no text beside a call of a tool"
        else:
            problem = "the base model's chat template does not write it in full behind its prompt"
        raise LineError(f"{where}.content", problem)
    for call in message.get("tool_calls", ()):
        if call["function"]["name"] not in written:
            raise LineError(f"{where}.tool_calls", NO_TOOLS)


def _compact(text: str) -> str:
    """Without white space, which templates trim."""
    return "".join(text.split())
