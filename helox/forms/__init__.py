"""The forms of a row, and the one function for each that makes its question.

    {"input": x, "output": y}                     x and y any JSON, or lists of messages
    {"prompt": x, "completion": y}                the same
    {"question": x, "answer": y}                  the same
    {"instruction": t, "input"?: x, "output": y}  Alpaca; also {instruction, context?, response}
    {"messages": [...], "tools"?: [...]}          OpenAI; assistant messages may carry "weight": 0
    {"conversations": [...]}                      ShareGPT, {from, value} or {role, content}

A job's data in the form of a row without its answer asks what the row asks. Pure: no torch, no
transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helox.errors import LineError
from helox.forms.chats import CONVERSATIONS, MESSAGES
from helox.forms.conversation import Conversation, Note, Question, split_answer
from helox.forms.form import Form
from helox.forms.messages import cleaned_messages, looks_like_messages, messages_of_chat
from helox.forms.messages import require_content as _require_content
from helox.forms.others import refuse_foreign, refuse_preferences, refuse_unread
from helox.forms.pairs import (
    ALPACA,
    DOLLY,
    INPUT_OUTPUT,
    PROMPT_COMPLETION,
    QUESTION_ANSWER,
    text_of,
)
from helox.forms.values import Row, answer_of, clean_row, content_of

__all__ = [
    "FORMS",
    "Conversation",
    "Form",
    "Note",
    "Question",
    "answer_of",
    "clean_row",
    "content_of",
    "fields_of",
    "form_of",
    "messages_of_chat",
    "order_matters",
    "prompt_of_job",
    "question_of",
    "split_answer",
    "to_messages",
]

FORMS = (MESSAGES, CONVERSATIONS, INPUT_OUTPUT, PROMPT_COMPLETION, QUESTION_ANSWER, ALPACA, DOLLY)
CHATS = (MESSAGES, CONVERSATIONS)
CALLING = {"tool_calls", "function_call"}
MAX_KEYS_SHOWN = 12


def to_messages(line: Any) -> Conversation:
    """A training line as chat messages.

    Raises:
        LineError: names the field, and what is wrong with it.
    """
    return read_row(line)[1]


def read_row(line: Any) -> tuple[Form, Conversation, Row]:
    """A training line's form, what it says, and its keys as they were read. Raises `LineError`."""
    row = clean_row(line)
    form = form_of(row)
    refuse_unread(row, form.fields)
    return form, form.conversation(row), row


def question_of(data: Any) -> Question:
    """What a job's data asks: in the form of a row without its answer, what that row asks.

    Data of no form is itself the input of a row: {"input": x} and x ask the same.

    Raises:
        LineError: names the field, and what is wrong with it.
    """
    if isinstance(data, Mapping):
        row = clean_row(data)
        keys = set(row)
        for form in FORMS:
            if form.may_ask(keys):
                return form.question(row)
        _refuse_odd_question(row)
        return Question(({"role": "user", "content": text_of(data, "data")},))
    if looks_like_messages(data):
        messages = cleaned_messages(data)
        _require_content(messages)
        return Question(tuple(messages))
    return Question(({"role": "user", "content": text_of(data, "data")},))


def order_matters(data: Any) -> bool:
    """Whether what a job's data asks depends on the order of keys in it: of tools and of answers.

    The rest of a question has one order, whichever way it came.
    """
    if isinstance(data, list):
        return looks_like_messages(data) and any(set(m) & CALLING for m in data)
    if not isinstance(data, Mapping):
        return False
    lists = [value for value in data.values() if isinstance(value, list)]
    return bool({"tools", "functions", "history"} & data.keys()) or any(map(order_matters, lists))


def prompt_of_job(data: Any) -> list[dict[str, Any]]:
    """The messages of `question_of`."""
    return list(question_of(data).messages)


def _refuse_odd_question(row: Row) -> None:
    """Data that is a row's question but for a field would be asked as a text of JSON, silently."""
    for form in FORMS:
        if all(key in row for key in form.required) and row.keys() <= form.fields:
            answer = form.required[-1]
            raise LineError(
                answer,
                "is the answer of a training line, and a job is asked without it; to ask about an "
                'object that has this key, send it as {"input": {...}}',
            )
    for form in CHATS:
        (field,) = form.asks
        if looks_like_messages(row.get(field)):
            other = sorted(row.keys() - form.fields)
            raise LineError(other[0], f"is not read beside {field}")


def fields_of(line: Any) -> frozenset[str]:
    """The keys of a line that mean something; the others are carried along unread."""
    row = clean_row(line)
    return form_of(row).fields & row.keys()


def form_of(row: Row) -> Form:
    """The form of a cleaned row. Raises `LineError` for none, and for two at once."""
    refuse_preferences(row)
    matches = [form for form in FORMS if all(key in row for key in form.required)]
    if len(matches) > 1:
        # Tables that hold rows of two forms fill the other's columns with nothing.
        said = [f for f in matches if any(row[key] not in ("", []) for key in f.required)]
        matches = said or matches
    if ALPACA in matches and INPUT_OUTPUT in matches:
        matches.remove(INPUT_OUTPUT)  # Alpaca has an input of its own
    if len(matches) == 1:
        return matches[0]
    if matches:
        keys = " and ".join(form.name for form in matches)
        raise LineError(matches[0].required[0], f"the line has two forms at once: {keys}")
    raise _no_form(row)


def _no_form(row: Row) -> LineError:
    found = ", ".join(map(repr, sorted(row)[:MAX_KEYS_SHOWN])) or "none"
    for form in FORMS:
        missing = [key for key in form.required if key not in row]
        if len(missing) < len(form.required):
            return LineError(missing[0], f"is missing; the keys found are {found}")
    refuse_foreign(row)
    names = ", ".join(form.name for form in FORMS)
    return LineError("line", f"has none of the known forms: {names}; the keys found are {found}")
