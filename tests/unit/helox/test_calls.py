"""Calls as a template writes them, and one order for whatever is JSON."""

from __future__ import annotations

import pytest

from helox.calls import CallFormat, ordered_arguments, ordered_tools
from helox.render import ChatTemplate, to_messages

TEXT_TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
    '<call>{"tool": "{{ c.function.name }}", "with": {{ c.function.arguments | tojson }}}</call>'
    "{% endfor %}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
FORMAT = CallFormat.of(ChatTemplate(TEXT_TEMPLATE, {"eos_token": "</s>"}))


def test_reads_the_form_from_the_template() -> None:
    assert CallFormat('<call>{"tool": "', '", "with": ', "}</call>", (", ", ": ")) == FORMAT


def test_template_without_calls_has_no_form() -> None:
    plain = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    assert CallFormat.of(ChatTemplate(plain)) is None


def test_template_that_refuses_tools_has_no_form() -> None:
    refuses = "{{ raise_exception('no tools') if tools else '' }}"
    assert CallFormat.of(ChatTemplate(refuses)) is None


@pytest.mark.parametrize("arguments", [{}, {"a": 'x", "y'}, {"a": {"b": [1, None, "é"]}}])
def test_reads_what_it_writes(arguments: dict[str, object]) -> None:
    assert FORMAT is not None
    assert FORMAT.read(FORMAT.write('say "hi"', arguments)) == ('say "hi"', arguments)


def test_text_is_no_call() -> None:
    assert FORMAT is not None
    assert FORMAT.read('I would <call>{"tool": "x') is None


@pytest.mark.parametrize(
    "text",
    [
        '<call>{"tool": "get',
        '<call>{"tool": "get", "with": {"a": "b',
        '<call>{"tool": "get", "with": {"a": "b"}',
        '<call>{"tool": "get", "with": [1]}</call>',
    ],
)
def test_broken_call_is_refused(text: str) -> None:
    assert FORMAT is not None
    with pytest.raises(ValueError, match=r"call|delimiter|string"):
        FORMAT.read(text)


def tool(name: str, *properties: str, required: list[str] | None = None) -> dict[str, object]:
    """A tool whose keys stand in the order of a store that sorts them by length."""
    parameters = {"required": required or [], "properties": {p: {} for p in properties}}
    return {"function": {"parameters": parameters, "name": name}, "type": "function"}


def test_tools_stand_by_name_and_parameters_as_their_schema_lists_them() -> None:
    one = [tool("b", "x", "z", "y", required=["z"]), tool("a")]
    other = [tool("a"), {"type": "function", **tool("b", "x", "z", "y", required=["z"])}]
    assert str(ordered_tools(one)) == str(ordered_tools(other))
    assert list(ordered_tools(one)[1]["function"]["parameters"]["properties"]) == ["x", "z", "y"]


def test_arguments_follow_their_tool() -> None:
    (known,) = ordered_tools([tool("b", "x", "z", required=["z"])])
    assert list(ordered_arguments({"q": 3, "z": 2, "x": 1}, known)) == ["x", "z", "q"]
    assert list(ordered_arguments({"x": 1, "a": 2}, None)) == ["x", "a"]


def test_training_lines_are_put_in_order() -> None:
    call = {"function": {"name": "b", "arguments": '{"z": 2, "x": 1}'}}
    conversation = to_messages(
        {
            "messages": [
                {"role": "user", "content": "do it"},
                {"role": "assistant", "tool_calls": [call]},
            ],
            "tools": [tool("b", "x", "z", required=["z"]), tool("a")],
        }
    )
    assert conversation.tools is not None
    assert [t["function"]["name"] for t in conversation.tools] == ["a", "b"]
    (made,) = conversation.messages[1]["tool_calls"]
    assert list(made["function"]["arguments"]) == ["x", "z"]
