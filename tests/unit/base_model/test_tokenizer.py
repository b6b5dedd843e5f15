"""The tokenizer and chat template of the committed model directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from base_model import tokenizer as made
from base_model.diet.example import chat

MODEL = Path(__file__).parents[3] / "base_model" / "cyrex-small"
SPECIAL = {token: number for number, token in enumerate(made.SPECIAL_TOKENS)}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "get_x", "description": "d", "parameters": {"type": "object"}},
    },
    {"type": "function", "function": {"name": "put_y", "description": "é", "parameters": {}}},
]
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Hello <b> & 'you'\n"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "x of 17?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "type": "function",
                "function": {"name": "get_x", "arguments": {"n": 17, "q": "a<b é"}},
            }
        ],
    },
    {"role": "tool", "content": '{"x": 4}'},
    {"role": "assistant", "content": "4"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize(
    "text",
    [
        "I'm still waiting; it hasn't arrived!",
        '{"number": "INV-2024-0017", "amount": 1203.50}',
        "Grüße, 你好 🙂\n\n\ttabs  and   spaces ",
        "snake_case_label ALLCAPS McDonald x86_64 \u00a0\u200b",
        "",
    ],
)
def test_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=False) == text


def test_every_digit_is_its_own_token(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("No 4071-2260 of 19.99", add_special_tokens=False).tokens
    assert "".join(t for t in tokens if any(c.isdigit() for c in t)) == "407122601999"
    assert all(len(t) == 1 for t in tokens if any(c.isdigit() for c in t))


@pytest.mark.parametrize(
    "value", ["INV-2024-0017", "Acme Ltd", "EUR 19.90", "Anna Meyer", "2031-04-09"]
)
def test_a_value_has_the_same_tokens_wherever_it_stands(tokenizer: Tokenizer, value: str) -> None:
    alone = ids(tokenizer, value)
    for before, after in [("no ", " is"), ('{"k":"', "\n"), ("x=", ";"), ("\n", " ")]:
        around = ids(tokenizer, before + value + after)
        assert any(around[i : i + len(alone)] == alone for i in range(len(around)))


def test_special_tokens_have_fixed_ids_and_pad_is_not_the_end(tokenizer: Tokenizer) -> None:
    for token, number in SPECIAL.items():
        assert tokenizer.token_to_id(token) == number
        assert ids(tokenizer, token) == [number]
    assert tokenizer.get_vocab_size() == made.VOCAB_SIZE
    library = AutoTokenizer.from_pretrained(MODEL)
    assert (library.pad_token, library.eos_token, library.bos_token) == (made.PAD, made.END, None)
    assert library.pad_token_id != library.eos_token_id
    config = json.loads((MODEL / "config.json").read_text("utf-8"))
    assert (config["pad_token_id"], config["eos_token_id"]) == (
        library.pad_token_id,
        library.eos_token_id,
    )


def test_both_libraries_give_the_same_ids(tokenizer: Tokenizer) -> None:
    text = "<|user|>Where is it? 12<|end|><|assistant|>"
    assert AutoTokenizer.from_pretrained(MODEL)(text, add_special_tokens=False)["input_ids"] == ids(
        tokenizer, text
    )


def render(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None, prompt: bool = False
) -> str:
    library = AutoTokenizer.from_pretrained(MODEL)
    out = library.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=prompt
    )
    assert isinstance(out, str)
    return out


@pytest.mark.parametrize("tools", [None, TOOLS])
def test_template_of_a_prefix_is_a_prefix(tools: list[dict[str, Any]] | None) -> None:
    whole = render(CONVERSATION, tools)
    for count in range(1, len(CONVERSATION)):
        assert whole.startswith(render(CONVERSATION[:count], tools))
        if CONVERSATION[count]["role"] == "assistant":
            assert whole.startswith(render(CONVERSATION[:count], tools, prompt=True))


def test_template_writes_calls_tools_and_ends() -> None:
    text = render(CONVERSATION, TOOLS)
    assert text.startswith('<|tools|>{"name": "get_x"')
    assert (
        '<|assistant|><|tool_call|>{"name": "get_x", "arguments": {"n": 17, "q": "a<b é"}}<|end|>'
        in text
    )
    assert "<|user|> Hello <b> & 'you'\n<|end|>" in text
    assert text.count("<|end|>") == len(CONVERSATION) + 1
    assert text.endswith("<|end|>")


def test_arguments_given_as_a_string_stand_as_they_are() -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}],
    }
    assert render([call]) == '<|assistant|><|tool_call|>{"name": "f", "arguments": {"a":1}}<|end|>'


def test_template_needs_nothing_of_the_library_but_a_json_filter() -> None:
    environment = jinja2.Environment(autoescape=False)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string((MODEL / "chat_template.jinja").read_text("utf-8"))
    for tools in (None, TOOLS):
        assert template.render(
            messages=CONVERSATION, tools=tools, add_generation_prompt=True
        ) == render(CONVERSATION, tools, prompt=True)


def test_the_diet_writes_conversations_as_the_template_does() -> None:
    pieces = chat(CONVERSATION, TOOLS)
    assert "".join(str(p.content) for p in pieces) == render(CONVERSATION, TOOLS)
    learned = [p.content for p in pieces if p.weight > 0]
    assert learned[0] == "Hi.<|end|>" and learned[-1] == "4<|end|>" and len(learned) == 3
