"""Forms that are conversations: OpenAI's `messages`, and ShareGPT's `conversations`."""

from __future__ import annotations

from helox.errors import LineError
from helox.forms.conversation import Conversation, Note, Question, Tools
from helox.forms.form import COMMON, Form
from helox.forms.messages import cleaned_messages, require_answers, require_content
from helox.forms.pairs import parallel_of, system_of
from helox.forms.tool_rows import check_calls
from helox.forms.tools import tools_of
from helox.forms.values import Row
from helox.template import Message


def _form(field: str) -> Form:
    def question(row: Row) -> Question:
        messages, tools = _read(row, field)
        parallel_of(row)
        return Question(tuple(messages), tools)

    def conversation(row: Row) -> Conversation:
        messages, tools = _read(row, field)
        answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        if not answers:
            raise LineError(field, "must contain an assistant message to learn from")
        if answers[0] == 0:
            raise LineError(
                f"{field}[0].role", "the first message must not be the assistant's: nothing asks it"
            )
        require_answers(messages, field)
        shift = bool(system_of(row))  # the fields are numbered as the sender numbered them
        notes = [*check_calls(messages[shift:], tools, parallel_of(row), field)]
        behind = len(messages) - 1 - answers[-1]
        if behind and messages[-1]["role"] != "tool":
            text = f"messages behind the last answer are not read: {behind}"
            notes.append(Note("ending", field, text))
        # Nothing after the last answer is learned from, so nothing after it is rendered.
        return Conversation(tuple(messages[: answers[-1] + 1]), tools, tuple(notes))

    return Form(field, (field,), (), COMMON, question, conversation)


def _read(row: Row, field: str) -> tuple[list[Message], Tools | None]:
    tools = tools_of(row)
    messages = cleaned_messages(row[field], tools, field)
    require_content(messages, field)
    system = system_of(row)
    if system and messages[0]["role"] == "system":
        raise LineError("system", f"is there twice: {field} begins with a system message")
    return [*system, *messages], tools


MESSAGES = _form("messages")
CONVERSATIONS = _form("conversations")
