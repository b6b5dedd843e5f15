"""Forms of one question and one answer.

    {"input": x, "output": y}                               x and y any JSON, or lists of messages
    {"prompt": x, "completion": y}                          the same
    {"question": x, "answer": y}                            the same
    {"instruction": t, "input"?: x, "output": y}            Alpaca
    {"instruction": t, "context"?: x, "response": y}        Dolly

Each may have `system` (text), `history` (pairs of question and answer, or messages) and `tools`.
The answers in a history are part of the question: they are read, and not learned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helox.errors import LineError
from helox.forms.conversation import Conversation, Question, Tools
from helox.forms.form import COMMON, Form
from helox.forms.messages import (
    cleaned_messages,
    looks_like_messages,
    require_answers,
    require_content,
)
from helox.forms.tool_rows import check_calls
from helox.forms.tools import tools_of
from helox.forms.values import Row, answer_of, content_of, from_json_text, is_blank
from helox.template import Message

Ask = Callable[[Row, Tools | None], list[Message]]


def text_of(value: Any, field: str, write: Callable[[Any], str] = content_of) -> str:
    """Raises `LineError` for what is no JSON, or holds nothing."""
    try:
        text = write(value)
    except (TypeError, ValueError) as error:
        raise LineError(field, f"is not JSON: {error}") from error
    if is_blank(text):
        raise LineError(field, "must not be empty")
    return text


def system_of(row: Row) -> list[Message]:
    """The row's own system message. Raises `LineError`."""
    system = row.get("system", "")
    if not isinstance(system, str):
        raise LineError("system", "must be text")
    return [{"role": "system", "content": system}] if system.strip() else []


def parallel_of(row: Row) -> bool:
    """Whether an answer may call several tools at once. Raises `LineError`."""
    parallel = row.get("parallel_tool_calls", True)
    if not isinstance(parallel, bool):
        raise LineError("parallel_tool_calls", "must be true or false")
    return parallel


def _asked(field: str) -> Ask:
    def ask(row: Row, tools: Tools | None) -> list[Message]:
        value = row[field]
        if looks_like_messages(value):
            messages = cleaned_messages(value, tools, field)
            require_content(messages, field)
            return _unlearned(messages)
        return [{"role": "user", "content": text_of(value, field)}]

    return ask


def _instructed(extra: str) -> Ask:
    def ask(row: Row, tools: Tools | None) -> list[Message]:
        instruction, value = row["instruction"], row.get(extra, "")
        if not isinstance(instruction, str):
            raise LineError("instruction", "must be text")
        parts = [] if is_blank(instruction) else [instruction]
        if value != "" and not (isinstance(value, str) and is_blank(value)):
            parts.append(text_of(value, extra))
        if not parts:
            raise LineError("instruction", "must not be empty")
        return [{"role": "user", "content": "\n\n".join(parts)}]

    return ask


def _unlearned(messages: list[Message]) -> list[Message]:
    return [{**m, "weight": 0} if m["role"] == "assistant" else m for m in messages]


def _history(row: Row, tools: Tools | None) -> list[Message]:
    history = from_json_text(row.get("history") or [], "history")
    if not isinstance(history, list):
        raise LineError("history", "must be a list of pairs of question and answer, or messages")
    if looks_like_messages(history):
        return _unlearned(cleaned_messages(history, tools, "history"))
    messages: list[Message] = []
    for i, pair in enumerate(history):
        if not isinstance(pair, list) or len(pair) != 2:
            raise LineError(f"history[{i}]", "must be a pair of question and answer")
        asked = text_of(pair[0], f"history[{i}][0]")
        answered = text_of(pair[1], f"history[{i}][1]", answer_of)
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": answered, "weight": 0})
    return messages


def _form(name: str, asks: str, answers: str, ask: Ask, optional: tuple[str, ...] = ()) -> Form:
    def question(row: Row) -> Question:
        tools = tools_of(row)
        parallel_of(row)
        asked = [*_history(row, tools), *ask(row, tools)]
        system = system_of(row)
        if system and asked[0]["role"] == "system":
            raise LineError("system", f"is there twice: {asks} begins with a system message")
        return Question((*system, *asked), tools)

    def conversation(row: Row) -> Conversation:
        asked = question(row)
        answered = _answered(row[answers], answers, asked.tools)
        messages = (*asked.messages, *answered)
        # Of the question's own calls nothing is learned: they are as they are.
        notes = check_calls(answered, asked.tools, parallel_of(row), answers)
        return Conversation(messages, asked.tools, notes)

    return Form(name, (asks,), (answers,), (*optional, *COMMON, "history"), question, conversation)


def _answered(value: Any, field: str, tools: Tools | None) -> list[Message]:
    if not looks_like_messages(value):
        return [{"role": "assistant", "content": text_of(value, field, answer_of)}]
    messages = cleaned_messages(value, tools, field)
    if messages[-1]["role"] != "assistant":
        raise LineError(field, "must end with an assistant message")
    require_answers(messages, field)
    require_content(messages, field)
    return messages


INPUT_OUTPUT = _form("input+output", "input", "output", _asked("input"))
PROMPT_COMPLETION = _form("prompt+completion", "prompt", "completion", _asked("prompt"))
QUESTION_ANSWER = _form("question+answer", "question", "answer", _asked("question"))
ALPACA = _form("instruction+output", "instruction", "output", _instructed("input"), ("input",))
DOLLY = _form(
    "instruction+response", "instruction", "response", _instructed("context"), ("context",)
)
