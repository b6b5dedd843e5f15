"""What a row that calls tools must hold to be worth learning from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helox.errors import LineError
from helox.forms.conversation import Note, Tools
from helox.forms.schema_fit import misfit
from helox.template import Message


def check_calls(
    messages: Sequence[Message], tools: Tools | None, parallel: bool, where: str
) -> tuple[Note, ...]:
    """Each call names a declared tool, fits its schema, and is answered or is the end.

    Raises:
        LineError: names the message, and what is wrong with it.
    """
    notes: list[Note] = []
    waiting: list[tuple[str, Any]] = []  # field and id of the calls that no message answered yet
    declared = {tool["function"]["name"]: tool["function"] for tool in tools or ()}
    for i, message in enumerate(messages):
        place = f"{where}[{i}]"
        if message["role"] == "tool":
            _take_answer(message, waiting, place)
            continue
        if waiting:
            raise LineError(
                waiting[0][0], "is not answered: a message of role tool must follow with its id"
            )
        calls = message.get("tool_calls", ())
        if len(calls) > 1 and not parallel:
            raise LineError(f"{place}.tool_calls", "are several, and parallel_tool_calls is false")
        for c, call in enumerate(calls):
            field = f"{place}.tool_calls[{c}]"
            waiting.append((field, call.get("id")))
            if tools:
                _check_call(call["function"], declared, f"{field}.function")
            else:
                text = "calls a tool, and the line declares none: serving shows the tools it calls"
                notes.append(Note("tools", "tools", text))
    return tuple(notes[:1])


def _take_answer(message: Message, waiting: list[tuple[str, Any]], place: str) -> None:
    if not waiting:
        raise LineError(place, "answers no call: there is none before it that waits")
    answered = message.get("tool_call_id")
    ids = [call_id for _, call_id in waiting]
    if answered in ids:
        waiting.pop(ids.index(answered))
    elif answered is None or None in ids:
        waiting.pop(0 if answered is None else ids.index(None))
    else:
        raise LineError(
            f"{place}.tool_call_id", f"{str(answered)[:80]!r} is the id of no call that waits"
        )


def _check_call(
    function: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]], field: str
) -> None:
    name = function["name"]
    if name not in declared:
        names = ", ".join(sorted(declared))[:200]
        raise LineError(f"{field}.name", f"{name[:80]!r} is none of the line's tools: {names}")
    wrong = misfit(function["arguments"], declared[name].get("parameters"))
    if wrong is not None:
        raise LineError(f"{field}.arguments", f"do not fit the tool's schema: {wrong}")
