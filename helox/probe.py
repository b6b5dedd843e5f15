"""How a base model's chat template writes a conversation, found by rendering short ones.

Chat templates differ in more than their markers: one opens a `<think>` block behind the prompt,
one writes an empty one before each answer, one refuses system messages, one demands that user and
assistant alternate, one writes nothing at the end of a turn. `traits_of` finds this out once, in
milliseconds and without a network. `ChatTemplate` then renders accordingly, in training and in
serving alike. A template that cannot work is refused here, before a single row of data is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helox.errors import LineError, UnfitTemplate

if TYPE_CHECKING:
    from helox.template import ChatTemplate, Message

# Texts that no template writes by itself. The answers differ from their first character on.
SYSTEM = "probe system qz"
QUESTION = "probe question qz"
QUESTIONS = (QUESTION, "probe second question qz")
ANSWERS = ("First probe answer qz", "Other probe answer qz")
TOOL_NAME = "probe_tool_qz"
# Some templates accept exactly nine letters and digits.
CALL_ID = "call00001"
ARGUMENT = "probe argument qz"
REPLY = "probe reply qz"

# The opening tag of a block of reasoning: <think>, <thinking>, [THINK], <|thinking|>.
OPEN_THINK = re.compile(r"([<\[]\|?)(\w*think\w*)(\|?[>\]])\s*\Z", re.IGNORECASE)
THINK_TAG = re.compile(r"[<\[]\|?/?\w*think\w*\|?[>\]]", re.IGNORECASE)


@dataclass(frozen=True)
class Traits:
    """How a template writes conversations.

    Attributes:
        before_answer: text that the template writes between its generation prompt and every
            answer, such as an empty think block. It ends each prompt, so that it is never learned.
        before_call_or_answer: the same where tools are on offer.
        empty_think: such a text where reasoning is on: the model is to write it or a real one, and
            nothing is learned about it.
        final: end of a conversation that the template writes behind a question too.
        opened: end of the generation prompt that is missing before rendered answers: `<think>`.
        closing: text behind `opened` that closes it.
        end: token that the template writes behind an answer; None where it writes none.
        tail: text behind an answer and its `end` that no further turn would follow.
        folds_system: the template refuses or drops system messages. They begin the next user
            message instead.
        joins_users: the template refuses or drops the second of two user messages in a row. They
            become one.
        tools: the template writes calls of tools and their replies.
    """

    before_answer: str
    before_call_or_answer: str
    empty_think: str
    final: str
    opened: str
    closing: str
    end: str | None
    tail: str
    folds_system: bool
    joins_users: bool
    tools: bool


def traits_of(template: ChatTemplate) -> Traits:
    """Renders a few short conversations.

    Raises:
        UnfitTemplate: no question and answer can be trained or served with this template.
    """
    prompt, head, tail = _question_and_answer(template)
    final = _final(prompt, head, template)
    forced, opened = _border(prompt.removesuffix(final), head)
    closing, empty_think = "", ""
    if opened and (think := OPEN_THINK.search(opened)) is not None:
        if template.enable_thinking:
            raise UnfitTemplate(
                f"the chat template's prompt ends in {think[0].strip()!r}, but the template leaves "
                "reasoning out of the answers that it writes, so reasoning cannot be trained: turn "
                "enable_thinking off"
            )
        closing = _closing(opened, think)
    if template.enable_thinking and THINK_TAG.search(forced):
        forced, empty_think = "", forced
    end = _end(tail, template)
    tools, before_call = _tools(template)
    return Traits(
        before_answer=forced,
        before_call_or_answer=(forced if before_call is None else _shared(forced, before_call)),
        empty_think=empty_think,
        final=final,
        opened=opened,
        closing=closing,
        end=end,
        tail=_last_text(tail, end),
        folds_system=not _writes(template, [_system(), _user(), _assistant()]),
        joins_users=not _writes(template, [*map(_user, QUESTIONS), _assistant()]),
        tools=tools,
    )


def _question_and_answer(template: ChatTemplate) -> tuple[str, str, str]:
    """A question's prompt; the text before its answer; the text behind it."""
    try:
        prompt = template.raw([_user()], add_generation_prompt=True)
        wholes = [template.raw([_user(), _assistant(answer)]) for answer in ANSWERS]
    except LineError as error:
        raise UnfitTemplate(
            f"the chat template refuses one question with its answer: {error.message}"
        ) from error
    if QUESTION not in prompt:
        raise UnfitTemplate("the chat template leaves the user's message out of its prompt")
    if not all(text in whole for text, whole in zip(ANSWERS, wholes, strict=True)):
        raise UnfitTemplate("the chat template does not write the assistant's message as it stands")
    head = _shared(*wholes)
    tails = {
        whole.removeprefix(head + answer) for answer, whole in zip(ANSWERS, wholes, strict=True)
    }
    if QUESTION not in head or len(tails) > 1:
        raise UnfitTemplate("the chat template does not write the answer behind its prompt")
    return prompt, head, tails.pop()


def _final(prompt: str, head: str, template: ChatTemplate) -> str:
    """What a template without a generation prompt writes last, where an answer is to stand."""
    if prompt != template.raw([_user()]):
        return ""
    return prompt.removeprefix(_shared(prompt, head))


def _border(prompt: str, head: str) -> tuple[str, str]:
    """The text that `head` adds to the prompt, or the end of the prompt that `head` lacks."""
    if head.startswith(prompt):
        # A single space belongs to the answer's first token, in most vocabularies.
        return head[len(prompt) :].rstrip(" "), ""
    shared = _shared(prompt, head)
    missing, other = prompt[len(shared) :], head[len(shared) :]
    if QUESTION not in shared or other.strip():
        raise UnfitTemplate(
            f"the chat template ends its prompt with {missing[-40:]!r}, but writes {other[-40:]!r} "
            "before an answer: what is trained would not be what is served"
        )
    return "", missing


def _shared(first: str, second: str) -> str:
    """The beginning that two texts have in common."""
    length = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    return first[:length]


def _closing(opened: str, think: re.Match[str]) -> str:
    """What makes an opened think block an empty one, in the form that Qwen's template has."""
    newlines = len(opened) - len(opened.rstrip("\n"))
    return "\n" * max(0, 2 - newlines) + f"{think[1][0]}/{think[1][1:]}{think[2]}{think[3]}\n\n"


def _end(tail: str, template: ChatTemplate) -> str | None:
    """The token that ends a turn: the first thing behind an answer."""
    tokens = {*template.control_tokens, template.special_tokens.get("eos_token") or ""} - {""}
    text = tail.lstrip()
    found = [token for token in tokens if text.startswith(token)]
    return max(found, key=len, default=None)


def _last_text(tail: str, end: str | None) -> str:
    """What must not stand between two turns; white space behind the end token may."""
    if end is None:
        return tail
    behind = tail.partition(end)[2]
    return behind if behind.strip() else ""


def _tools(template: ChatTemplate) -> tuple[bool, str | None]:
    """Whether calls and their replies are written; what follows a prompt that offers a tool."""
    tools = [{"type": "function", "function": {"name": TOOL_NAME, "parameters": {}}}]
    function = {"name": TOOL_NAME, "arguments": {"probe": ARGUMENT}}
    call = {"id": CALL_ID, "type": "function", "function": function}
    calling: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
    reply: Message = {"role": "tool", "name": TOOL_NAME, "content": REPLY, "tool_call_id": CALL_ID}
    try:
        # Without the tool's definition: its name must come from the call.
        text = template.raw([_user(), calling, reply, _assistant()])
        prompt = template.raw([_user()], add_generation_prompt=True, tools=tools)
        called = template.raw([_user(), calling], tools=tools)
    except LineError:
        return False, None
    if not all(written in text for written in (TOOL_NAME, ARGUMENT, REPLY)):
        return False, None
    return True, called[len(prompt) :] if called.startswith(prompt) else None


def _writes(template: ChatTemplate, messages: Sequence[Message]) -> bool:
    """Whether the text of every message is written."""
    try:
        text = template.raw(messages)
    except LineError:
        return False
    return all(message["content"] in text for message in messages)


def _system() -> dict[str, Any]:
    return {"role": "system", "content": SYSTEM}


def _user(text: str = QUESTION) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _assistant(text: str = ANSWERS[0]) -> dict[str, Any]:
    return {"role": "assistant", "content": text}
