"""A job asked in the form of a training line asks the very tokens that the line was trained on.

Over every form and several templates, with data of all kinds; the job's data comes back from a
store that forgets the order of keys, as JSONB does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from helox.mask import Encoder
from helox.render import ChatTemplate, order_matters, question_of, to_messages

ROOT = Path(__file__).parents[4]
CONTROL = ["<|end|>", "<|user|>", "<|assistant|>"]
TEMPLATES = {
    "shipped": (ROOT / "base_model" / "chat_template.jinja").read_text(),
    "chatml": (
        "{%- if tools %}<|user|>{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|end|>"
        "{% endif %}"
        "{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}"
        "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<|end|>\n{% endfor %}"
        "{%- if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
    "default system, trimmed": (
        "{%- if messages[0].role != 'system' %}<|system|>You are X.<|end|>{% endif %}"
        "{%- for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}"
        "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }} "
        "{{ c.function.arguments | tojson }}</call>{% endfor %}<|end|>{% endfor %}"
        "{%- if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
    "inst": (
        "{%- for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}"
        "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<|end|>"
        "{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"
    ),
}

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
said = text.filter(lambda t: bool(t.strip()) and not t.lstrip().startswith(("{", "[")))
said = said.filter(lambda t: any(c.isalnum() for c in t))
scalar = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | text
json_value = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
value = said | st.dictionaries(said, json_value, min_size=1, max_size=3) | st.integers()
system = st.none() | said
history = st.none() | st.lists(st.tuples(value, value).map(list), max_size=2)
names = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=4, unique=True)


@st.composite
def tools(draw: st.DrawFn) -> list[dict[str, Any]]:
    properties = {name: {"type": draw(st.just("string"))} for name in draw(names)}
    parameters = {"type": "object", "properties": properties}
    function = {"name": "look_up", "description": draw(said), "parameters": parameters}
    return draw(
        st.sampled_from(
            [
                [{"type": "function", "function": function}],
                [{"type": "function", **function}],
                [{**function, "strict": None}],
            ]
        )
    )


@st.composite
def pair(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """The question and the answer of a row of one question and one answer."""
    asks, answers = draw(
        st.sampled_from([("input", "output"), ("prompt", "completion"), ("question", "answer")])
    )
    asked = {asks: draw(value), "system": draw(system), "history": draw(history)}
    if draw(st.booleans()):
        asked["tools"] = draw(tools())
    return asked, {answers: draw(value)}


@st.composite
def alpaca(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    extra, answers = draw(st.sampled_from([("input", "output"), ("context", "response")]))
    instruction = draw(st.just("") | said)
    asked = {
        "instruction": instruction,
        extra: draw(value if not instruction else st.none() | value),
    }
    return {**asked, "system": draw(system)}, {answers: draw(value)}


@st.composite
def turns(draw: st.DrawFn, offered: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": draw(said)}]
    if offered and draw(st.booleans()):
        declared = offered[0].get("function", offered[0])
        arguments = dict.fromkeys(sorted(declared["parameters"]["properties"]), "x")
        call = {
            "id": "call00001",
            "type": "function",
            "function": {"name": "look_up", "arguments": json.dumps(arguments)},
        }
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call00001", "content": draw(said)},
        ]
    elif draw(st.booleans()):
        messages += [
            {"role": "assistant", "content": draw(said)},
            {"role": "user", "content": draw(said)},
        ]
    return messages


@st.composite
def chat(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    offered = draw(st.none() | tools())
    messages = draw(turns(offered))
    if draw(st.booleans()):
        messages.insert(0, {"role": "system", "content": draw(said)})
    field = draw(st.sampled_from(["messages", "conversations", "prompt"]))
    last = {"role": "assistant", "content": draw(said)}
    extra = {"tools": draw(st.sampled_from([offered, json.dumps(offered)]))} if offered else {}
    asked = {field: messages, **extra}
    if field == "prompt":
        return asked, {"completion": [last]}
    return asked, {field: [*messages, last]}


@st.composite
def sharegpt(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    messages = [{"from": "human", "value": draw(said)}]
    if draw(st.booleans()):
        messages.insert(0, {"from": "system", "value": draw(said)})
    field = draw(st.sampled_from(["messages", "conversations"]))
    return {field: messages}, {field: [*messages, {"from": "gpt", "value": draw(said)}]}


def stored(value: Any) -> Any:
    """As JSONB gives it back: the keys of objects by their length."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return {key: stored(value[key]) for key in keys}
    return [stored(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_base / "tokenizer.json"))


@pytest.fixture(scope="module")
def encoders(tokenizer: Tokenizer) -> dict[str, Encoder]:
    stop = tokenizer.token_to_id("<|end|>")
    return {
        name: Encoder(ChatTemplate(source, {}, CONTROL), tokenizer, [stop], 100_000)
        for name, source in TEMPLATES.items()
    }


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(row=st.one_of(pair(), alpaca(), chat(), sharegpt()))
def test_the_job_asks_the_tokens_that_were_trained(
    encoders: dict[str, Encoder],
    tokenizer: Tokenizer,
    row: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    asked, answered = row
    line = {**asked, **answered}
    data = asked if order_matters(asked) else stored(asked)
    question = question_of(data)
    conversation = to_messages(line)
    for name, encoder in encoders.items():
        (*_, example) = encoder.encode(conversation)
        end = example.trained.rfind(1) + 1
        start = example.trained.rfind(0, 0, end) + 1
        prompt = encoder.template.render(
            question.messages, add_generation_prompt=True, tools=question.tools
        )
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        assert list(example.ids[:start]) == ids, name


def test_the_bare_data_of_a_form_of_ones_own_is_the_input() -> None:
    data = {"customer": 7, "question": "Where?"}
    assert question_of(data) == question_of({"input": data})
    assert question_of([1, 2]).messages[0]["content"] == "[1,2]"
