"""Rows as people have them: what is taken, in which order, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from helox.errors import LineError
from helox.forms import form_of, question_of, read_row, to_messages

USER = {"role": "user", "content": "Where is order 7?"}
ANSWER = {"role": "assistant", "content": "On its way."}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_stock",
        "description": "stock of a part",
        "parameters": {
            "type": "object",
            "properties": {"part": {"type": "string"}, "hall": {"type": "integer"}},
            "required": ["part"],
        },
    },
}


def said(line: Any) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in to_messages(line).messages]


def refusal(line: Any) -> LineError:
    with pytest.raises(LineError) as caught:
        to_messages(line)
    return caught.value


ASKED = [("user", "Where is order 7?"), ("assistant", "On its way.")]


@pytest.mark.parametrize(
    "line",
    [
        {"messages": [USER, ANSWER]},
        {"messages": json.dumps([USER, ANSWER])},
        {"conversations": [USER, ANSWER]},
        {"question": "Where is order 7?", "answer": "On its way."},
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": [USER], "completion": "On its way."},
        {"prompt": "Where is order 7?", "completion": [ANSWER]},
        {"instruction": "", "input": "Where is order 7?", "output": "On its way."},
        {"instruction": None, "input": "Where is order 7?", "output": "On its way."},
        {"instruction": "Where is order 7?", "input": None, "output": "On its way."},
        {"instruction": "Where is order 7?", "context": "", "response": "On its way."},
        {"\ufeffinput": "Where is order 7?", " output ": "On its way."},
        {"messages": None, "input": "Where is order 7?", "output": "On its way.", "tools": None},
        {"messages": [USER, ANSWER], "prompt": "", "completion": ""},
        {
            "conversations": [
                {"from": "human", "value": "Where is order 7?"},
                {"from": "gpt", "value": "On its way."},
            ]
        },
        {
            "messages": [
                {"from": "human", "value": "Where is order 7?"},
                {"from": "gpt", "value": "On its way."},
            ]
        },
    ],
)
def test_forms_that_say_the_same(line: dict[str, Any]) -> None:
    assert said(line) == ASKED


def test_system_and_history_are_part_of_the_question() -> None:
    line = {
        "instruction": "And the next one?",
        "output": "P5",
        "system": "You name pumps.",
        "history": [["First pump?", "P4"]],
    }
    assert said(line) == [
        ("system", "You name pumps."),
        ("user", "First pump?"),
        ("assistant", "P4"),
        ("user", "And the next one?"),
        ("assistant", "P5"),
    ]
    assert [m.get("weight") for m in to_messages(line).messages] == [None, None, 0, None, None]
    question = {key: line[key] for key in ("instruction", "system", "history")}
    assert list(question_of(question).messages) == list(to_messages(line).messages[:-1])


def test_answers_keep_their_order_and_questions_have_one() -> None:
    line = {"input": {"b": 1, "a": 2}, "output": {"reasoning": "so", "answer": {"z": 1, "y": 2}}}
    assert said(line) == [
        ("user", '{"a":2,"b":1}'),
        ("assistant", '{"reasoning":"so","answer":{"z":1,"y":2}}'),
    ]


def calls(*arguments: str, **fields: Any) -> dict[str, Any]:
    made = [
        {"id": f"c{i}", "type": "function", "function": {"name": "get_stock", "arguments": text}}
        for i, text in enumerate(arguments)
    ]
    return {"role": "assistant", "content": None, "tool_calls": made, **fields}


@pytest.mark.parametrize(
    "offered",
    [
        {"tools": [TOOL]},
        {"tools": json.dumps([TOOL])},
        {"tools": [TOOL["function"]]},
        {"tools": [{"type": "function", **TOOL["function"]}]},  # type: ignore[dict-item]
        {"functions": [TOOL["function"]]},
        {"tools": [{**TOOL, "function": {**TOOL["function"], "strict": None}}]},  # type: ignore[dict-item]
    ],
)
def test_tools_have_one_form_and_their_schemas_order(offered: dict[str, Any]) -> None:
    conversation = to_messages({"messages": [USER, calls('{"hall": 2, "part": "P4"}')], **offered})
    assert conversation.tools == (TOOL,)
    (call,) = conversation.messages[1]["tool_calls"]
    assert list(call["function"]["arguments"]) == ["part", "hall"]


def test_a_call_of_the_time_before_tools() -> None:
    line = {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "get_stock", "arguments": '{"part": "P4"}'},
            },
            {"role": "function", "name": "get_stock", "content": "3"},
            {"role": "assistant", "content": "three"},
        ],
        "functions": [TOOL["function"]],
        "function_call": "auto",
    }
    messages = to_messages(line).messages
    (call,) = messages[1]["tool_calls"]
    assert call["function"] == {"name": "get_stock", "arguments": {"part": "P4"}}
    assert messages[2]["role"] == "tool" and messages[2]["tool_call_id"] == call["id"]


def test_null_is_absent_in_arguments_and_tools() -> None:
    union = {"type": "object", "properties": {"part": {"type": "string", "enum": None}}}
    tool = {"type": "function", "function": {"name": "get_stock", "parameters": union}}
    line = {"messages": [USER, calls('{"part": "P4", "city": null}')], "tools": [tool]}
    conversation = to_messages(line)
    assert conversation.tools is not None
    properties = conversation.tools[0]["function"]["parameters"]["properties"]
    assert properties == {"part": {"type": "string"}}
    assert conversation.messages[1]["tool_calls"][0]["function"]["arguments"] == {"part": "P4"}


def test_a_null_that_the_schema_requires_stays() -> None:
    schema = {
        "type": "object",
        "properties": {"part": {"type": ["string", "null"]}},
        "required": ["part"],
    }
    tool = {"type": "function", "function": {"name": "get_stock", "parameters": schema}}
    line = {"messages": [USER, calls('{"part": null}')], "tools": [tool]}
    arguments = to_messages(line).messages[1]["tool_calls"][0]["function"]["arguments"]
    assert arguments == {"part": None}


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        # An answer must have been asked for, and a call must be one.
        ({"messages": [{"role": "user"}, ANSWER]}, "messages[0].content", "must not be empty"),
        ({"messages": [{**USER, "content": " \u200b"}, ANSWER]}, "messages[0].content", "empty"),
        ({"input": "x", "output": "\u200b"}, "output", "must not be empty"),
        (
            {"messages": [USER, calls("{}")], "tools": [TOOL]},
            "messages[1].tool_calls[0].function.arguments",
            "'part' is a required property",
        ),
        (
            {"messages": [USER, calls('{"part": 5}')], "tools": [TOOL]},
            "messages[1].tool_calls[0].function.arguments",
            "part: 5 is not of type 'string'",
        ),
        (
            {"messages": [USER, calls('{"part": "P", "prt": 1}')], "tools": [TOOL]},
            "messages[1].tool_calls[0].function.arguments",
            "'prt' is no parameter",
        ),
        (
            {
                "messages": [USER, calls("{}")],
                "tools": [{"type": "function", "function": {"name": "other"}}],
            },
            "messages[1].tool_calls[0].function.name",
            "'get_stock' is none of the line's tools: other",
        ),
        (
            {"messages": [USER, calls('{"part": "P"}'), USER, ANSWER], "tools": [TOOL]},
            "messages[1].tool_calls[0]",
            "is not answered",
        ),
        (
            {
                "messages": [
                    USER,
                    calls('{"part": "P"}'),
                    {"role": "tool", "tool_call_id": "c9", "content": "3"},
                    ANSWER,
                ],
                "tools": [TOOL],
            },
            "messages[2].tool_call_id",
            "'c9' is the id of no call",
        ),
        (
            {"messages": [USER, {"role": "tool", "content": "3"}, ANSWER]},
            "messages[1]",
            "answers no call",
        ),
        (
            {
                "messages": [USER, calls('{"part": "P"}', '{"part": "Q"}')],
                "tools": [TOOL],
                "parallel_tool_calls": False,
            },
            "messages[1].tool_calls",
            "parallel_tool_calls is false",
        ),
        ({"messages": [USER, ANSWER], "parallel_tool_calls": "yes"}, "parallel_tool_calls", "true"),
        ({"messages": [USER, ANSWER], "tools": "[{"}, "tools", "not JSON"),
        ({"messages": [USER, ANSWER], "tools": [TOOL, TOOL]}, "tools[1].function.name", "twice"),
        ({"messages": [USER, ANSWER], "tool_choice": "required"}, "tool_choice", "not learned"),
        # What means something and cannot be learned is refused by name.
        ({"prompt": "hi", "chosen": "a", "rejected": "b"}, "chosen", "DPO"),
        (
            {
                "input": {"messages": [USER]},
                "preferred_output": [ANSWER],
                "non_preferred_output": [ANSWER],
            },
            "preferred_output",
            "DPO",
        ),
        ({"prompt": "hi", "completion": "a", "label": False}, "label", "KTO"),
        ({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, "line", "Gemini"),
        ({"text": "### Human: hi"}, "line", "cannot be told apart"),
        ({"question": "q", "answer": "a", "context": "c"}, "context", "put it into the question"),
        ({"messages": [USER, ANSWER], "history": [["a", "b"]]}, "history", "is read with"),
        ({"input": "a", "output": "b", "images": ["x.png"]}, "images", "only text is"),
        (
            {"messages": [{"role": "system", "content": "a"}, USER, ANSWER], "system": "b"},
            "system",
            "twice",
        ),
        ({"messages": [{"from": "narrator", "value": "x"}]}, "messages[0].from", "narrator"),
        # Keys that are almost right are named.
        ({"Input": "hi", "Output": "hello"}, "line", "'Input', 'Output'"),
        ({"input": "hi", "answr": "hello"}, "output", "'answr', 'input'"),
        ({"input": "a", " input": "b", "output": "c"}, "input", "twice"),
        ({"messages": [USER, {**ANSWER, "tool_calls": "[}"}]}, "messages[1].tool_calls", "a list"),
    ],
)
def test_a_row_that_is_refused_says_why(line: Any, field: str, message: str) -> None:
    error = refusal(line)
    assert error.field == field
    assert message in error.message


def test_what_a_row_only_should_know_is_noted() -> None:
    conversation = to_messages({"messages": [USER, ANSWER, USER]})
    assert [note.kind for note in conversation.notes] == ["ending"]
    conversation = to_messages({"messages": [USER, calls('{"part": "P"}')]})
    assert [note.kind for note in conversation.notes] == ["tools"]


def test_an_unanswered_call_may_be_the_end() -> None:
    line = {"messages": [USER, calls('{"part": "P"}', '{"part": "Q"}')], "tools": [TOOL]}
    assert len(to_messages(line).messages[1]["tool_calls"]) == 2


def test_a_refusal_is_what_was_answered() -> None:
    answer = {"role": "assistant", "content": None, "refusal": "I must not."}
    assert said({"messages": [USER, answer]})[1] == ("assistant", "I must not.")


def test_the_form_is_named() -> None:
    assert form_of({"input": 1, "output": 2}).name == "input+output"
    assert read_row({"instruction": "a", "input": "b", "output": "c"})[0].name == (
        "instruction+output"
    )
