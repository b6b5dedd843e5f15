from __future__ import annotations

from typing import Any

import pytest

from helox.render import (
    LineError,
    content_of,
    fields_of,
    messages_of_chat,
    prompt_of_job,
    split_answer,
    to_messages,
)


def contents(line: dict[str, Any]) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in to_messages(line).messages]


def test_every_shape_becomes_question_and_answer() -> None:
    expected = [("user", "2+2"), ("assistant", "4")]
    assert contents({"input": "2+2", "output": "4"}) == expected
    assert contents({"prompt": "2+2", "completion": "4"}) == expected
    assert contents({"instruction": "2+2", "output": "4"}) == expected
    assert contents({"instruction": "2+2", "input": "", "output": "4"}) == expected
    messages = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]
    assert contents({"messages": messages}) == expected


def test_alpaca_input_follows_the_instruction() -> None:
    line = {"instruction": "Sum", "input": {"b": 1, "a": 2}, "output": "3"}
    assert contents(line)[0] == ("user", 'Sum\n\n{"a":2,"b":1}')


def test_json_has_one_form_whatever_its_order_and_keeps_its_letters() -> None:
    assert content_of({"b": [1, None], "a": "é"}) == '{"a":"é","b":[1,null]}'
    assert content_of({"a": "é", "b": [1, None]}) == content_of({"b": [1, None], "a": "é"})
    assert content_of("as it is ") == "as it is "
    with pytest.raises(ValueError, match="JSON"):
        content_of(float("nan"))


@pytest.mark.parametrize("value", ["text", {"amount": 3, "id": "A1"}, [1, 2], 7, True])
def test_a_job_is_asked_as_its_training_line_was(value: Any) -> None:
    prompt, _ = split_answer(to_messages({"input": value, "output": "x"}))
    assert prompt_of_job({"input": value}) == prompt


def test_a_job_of_another_shape_is_its_own_input() -> None:
    data = {"input": 1, "task": "t"}
    assert prompt_of_job(data) == [{"role": "user", "content": '{"input":1,"task":"t"}'}]
    assert prompt_of_job({"input": data}) == prompt_of_job(data)


def test_openai_messages_with_tools() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    line = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": None, "tool_calls": [call], "weight": 0},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
            {"role": "assistant", "content": "two", "weight": 1},
            {"role": "user", "content": "thanks"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "parallel_tool_calls": False,
    }
    conversation = to_messages(line)
    roles = [m["role"] for m in conversation.messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]  # nothing after the answer
    assert conversation.messages[0]["content"] == "be brief"
    assert conversation.messages[2]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert conversation.messages[2]["weight"] == 0
    assert conversation.tools is not None and conversation.tools[0]["function"]["name"] == "f"


USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({}, "line"),
        ([], "line"),
        ({"input": "x"}, "output"),
        ({"completion": "x"}, "prompt"),
        ({"input": "x", "output": None}, "output"),
        ({"input": "x", "output": "  "}, "output"),
        ({"input": "", "output": "y"}, "input"),
        ({"instruction": 3, "output": "y"}, "instruction"),
        ({"input": "x", "output": "y", "messages": [USER, ANSWER]}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [USER]}, "messages"),
        ({"messages": [ANSWER]}, "messages[0].role"),
        ({"messages": [USER, {"role": "bot", "content": "x"}]}, "messages[1].role"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "messages[1].content"),
        ({"messages": [USER, {"role": "assistant", "content": 4}]}, "messages[1].content"),
        ({"messages": [USER, {**ANSWER, "weight": 2}]}, "messages[1].weight"),
        ({"messages": [{**USER, "weight": 1}, ANSWER]}, "messages[0].weight"),
        ({"messages": [USER, {**ANSWER, "mood": "x"}]}, "messages[1].mood"),
        ({"messages": [USER, {**ANSWER, "tool_calls": [{}]}]}, "messages[1].tool_calls[0]"),
        ({"messages": [USER, ANSWER], "tools": [{}]}, "tools[0]"),
        ({"messages": [USER, ANSWER], "tools": "f"}, "tools"),
        ({"messages": [{**USER, "name": ""}, ANSWER]}, "messages[0].name"),
        ({"messages": [USER, {**ANSWER, "tool_call_id": 5}]}, "messages[1].tool_call_id"),
        (
            {
                "messages": [USER, {**ANSWER, "tool_calls": [{"function": {"name": "f"}}]}],
                "tools": [{"function": {"name": "f", "parameters": 7}}],
            },
            "tools[0].function.parameters",
        ),
    ],
)
def test_a_bad_line_is_refused_by_field(line: Any, field: str) -> None:
    with pytest.raises(LineError) as caught:
        to_messages(line)
    assert caught.value.field.startswith(field)
    assert caught.value.message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{x", "is not JSON"),
        ("[1]", "must be an object"),
        ("5", "must be an object"),
        ("null", "must be an object"),
        ("true", "must be an object"),
        ('{"a": NaN}', "is not JSON"),
        ('{"a": 1e999}', "is not JSON"),
        ('{"a": "\\ud800"}', "half a surrogate pair"),
        ('{"a": ' + "[" * 64 + "]" * 64 + "}", "deeper than 64 levels"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "deeper than 64 levels"),
    ],
)
def test_bad_tool_arguments_are_refused(arguments: str, message: str) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    said = [USER, {"role": "assistant", "tool_calls": [call]}]
    for read in (lambda: to_messages({"messages": said}), lambda: messages_of_chat(said)):
        with pytest.raises(LineError, match=message) as caught:
            read()
        assert caught.value.field == "messages[1].tool_calls[0].function.arguments"


def test_what_a_client_writes_out_and_does_not_say_is_no_field() -> None:
    unsaid = {"refusal": None, "annotations": [], "audio": None, "function_call": None}
    answer = {**ANSWER, **unsaid, "tool_calls": []}
    assert to_messages({"messages": [USER, answer]}) == to_messages({"messages": [USER, ANSWER]})
    assert messages_of_chat([USER, answer, USER]) == messages_of_chat([USER, ANSWER, USER])


def test_an_empty_answer_may_have_been_given_but_teaches_nothing() -> None:
    empty = {"role": "assistant", "content": ""}
    assert messages_of_chat([USER, empty, USER])[1] == empty
    with pytest.raises(LineError):
        to_messages({"messages": [USER, empty, USER, ANSWER]})


def test_fields_of_a_line() -> None:
    assert fields_of({"input": 1, "output": 2, "id": 3}) == {"input", "output"}


def test_a_conversation_is_cleaned_as_a_training_lines_messages_are() -> None:
    said = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    line = to_messages({"messages": [*said, {"role": "assistant", "content": "Hello"}]})
    assert messages_of_chat(said) == list(line.messages[:-1])


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ([], "messages"),
        ("Hi", "messages"),
        ([{"role": "user", "content": "Hi"}, {"role": "robot"}], "messages[1].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
    ],
)
def test_a_conversation_that_cannot_be_rendered_names_its_field(said: Any, field: str) -> None:
    with pytest.raises(LineError) as caught:
        messages_of_chat(said)
    assert caught.value.field == field


def test_what_servers_send_with_an_answer_is_left_out_when_it_comes_back() -> None:
    sent = {
        **ANSWER,
        "reasoning_content": "hm",
        "provider_specific_fields": {"x": 1},
        "annotations": [{"type": "url"}],
    }
    assert messages_of_chat([USER, sent, USER]) == messages_of_chat([USER, ANSWER, USER])
    refused = {"role": "assistant", "content": None, "refusal": "I must not."}
    assert messages_of_chat([USER, refused, USER])[1]["content"] == "I must not."
    with pytest.raises(LineError, match="is not a field of a message"):
        to_messages({"messages": [USER, sent]})
