"""Training rows and prompts with the tokenizers and chat templates of real model families."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helox.augment import Augmenter
from helox.base import Base
from helox.calls import CallFormat
from helox.errors import LineError
from helox.fit import NO_TOOLS
from helox.mask import Encoder, Example
from helox.render import Conversation, prompt_of_job, to_messages
from helox.spec import Amounts
from tests.real_tokenizers.__main__ import DONE
from tests.real_tokenizers.__main__ import FAMILIES as UNPACKED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
TOKENIZERS = ROOT / ".data" / "tokenizers"
REAL_MODEL = ROOT / ".data" / "real-model"  # SmolLM2, whole
FAMILIES = (*UNPACKED, "smollm2")
MAX_LENGTH = 4096
END = {
    "gemma3": "<end_of_turn>",
    "llama3": "<|eot_id|>",
    "llama3_1": "<|eot_id|>",
    "qwen2_5": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "mistral_v1": "</s>",
    "mistral_v3": "</s>",
    "mistral_v7": "</s>",
    "smollm2": "<|im_end|>",
}
WITH_TOOLS = {"qwen2_5", "qwen3", "mistral_v3", "mistral_v7"}
ANSWERS = ["Yes.", "12 Größen – für 3 €", '{"city":"Oslo","n":[1,2]}', "日本語\nzwei Zeilen"]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_stock",
        "description": "The stock of a part",
        "parameters": {"type": "object", "properties": {"part": {"type": "string"}}},
    },
}

LETTERS = re.compile(r"[^\W\d_]+")

Open = Callable[..., Base]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Opens a family as a base model: its own tokenizer and template, no weights."""
    assert (TOKENIZERS / DONE).is_file(), "tokenizers are missing: run `make real-tokenizers`"
    assert (REAL_MODEL / "tokenizer.json").is_file(), "SmolLM2 is missing: run `make real-model`"
    made: dict[tuple[str, bool], Base] = {}

    def open_family(family: str, enable_thinking: bool = False) -> Base:
        key = (family, enable_thinking)
        if key not in made:
            folder = tmp_path_factory.mktemp("bases") / family
            source = REAL_MODEL if family == "smollm2" else TOKENIZERS / family
            shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
            config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
            (folder / "config.json").write_text(json.dumps(config))
            (folder / "model.safetensors").write_bytes(b"")
            made[key] = Base.open(folder, enable_thinking)
        return made[key]

    return open_family


def decode(base: Base, ids: list[int] | tuple[int, ...]) -> str:
    return str(base.tokenizer.decode(list(ids), skip_special_tokens=False))


def trained(base: Base, example: Example) -> str:
    return decode(base, [t for t, w in zip(example.ids, example.trained, strict=True) if w])


def served(base: Base, conversation: Conversation, answer: int) -> list[int]:
    """The tokens that serving would prompt with for this answer."""
    asked, tools = conversation.messages[:answer], conversation.tools
    text = base.template.render(asked, add_generation_prompt=True, tools=tools)
    return list(base.tokenizer.encode(text, add_special_tokens=False).ids)


def parts(example: Example) -> tuple[int, int]:
    """Where the trained tokens of an example's last answer begin and end."""
    end = example.trained.rfind(1) + 1
    return example.trained.rfind(0, 0, end) + 1, end


def chat(*contents: str, system: str | None = None) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]
    return {"messages": [{"role": "system", "content": system}, *messages] if system else messages}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_and_its_end_are_learned(opened: Open, family: str, text: str) -> None:
    base = opened(family)
    assert base.template.traits.end == END[family]
    row = to_messages({"input": "Größe der Pumpe?", "output": text})
    (example,) = Encoder.of(base, MAX_LENGTH).encode(row)
    assert trained(base, example).strip() == text + END[family]
    start, end = parts(example)
    assert list(example.ids[:start]) == served(base, row, 1)
    assert example.ids[end - 1] in base.stop_ids
    assert not set(example.ids[start : end - 1]) & set(base.stop_ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_job_asks_what_its_training_row_asked(opened: Open, family: str) -> None:
    base = opened(family)
    for data in ("Hello <|im_end|> [INST] there", {"b": 1, "a": "Größe"}, [1, None]):
        row = to_messages({"input": data, "output": "Yes."})
        (example,) = Encoder.of(base, MAX_LENGTH).encode(row)
        prompt = base.template.render(prompt_of_job({"input": data}), add_generation_prompt=True)
        ids = base.tokenizer.encode(prompt, add_special_tokens=False).ids
        assert list(example.ids[: len(ids)]) == ids
        assert not any(example.trained[: len(ids)]) and example.trained[len(ids)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "line",
    [
        chat("one", "first answer", "two", "second answer"),
        chat("one", "first answer", "two", "second answer", system="Be short."),
        {
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": "one"},
                {"role": "user", "content": "and two"},
                {"role": "assistant", "content": "first answer"},
            ]
        },
    ],
    ids=["turns", "system", "two-users"],
)
def test_every_turn_is_asked_as_in_serving(opened: Open, family: str, line: dict[str, Any]) -> None:
    base, row = opened(family), to_messages(line)
    answers = [i for i, m in enumerate(row.messages) if m["role"] == "assistant"]
    examples = Encoder.of(base, MAX_LENGTH).encode(row)
    learned = "".join(trained(base, example) for example in examples)
    said = [row.messages[i]["content"] + END[family] for i in answers]
    assert [part.strip() for part in re.findall(rf".*?{re.escape(END[family])}", learned)] == said
    start, _ = parts(examples[-1])
    assert list(examples[-1].ids[:start]) == served(base, row, answers[-1])
    first = served(base, row, answers[0])
    assert list(examples[0].ids[: len(first)]) == first and examples[0].trained[len(first)]
    text = decode(base, examples[-1].ids)
    assert all(message["content"] in text for message in row.messages)


def tool_row() -> Conversation:
    call = {"name": "get_stock", "arguments": json.dumps({"part": "Pumpe 7"})}
    return to_messages(
        {
            "messages": [
                {"role": "user", "content": "How many are there?"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "call_x8F", "type": "function", "function": call}],
                },
                {"role": "tool", "tool_call_id": "call_x8F", "content": '{"stock": 40}'},
                {"role": "assistant", "content": "There are 40."},
            ],
            "tools": [TOOL],
        }
    )


@pytest.mark.parametrize("family", sorted(WITH_TOOLS))
def test_calls_have_the_form_of_the_family(opened: Open, family: str) -> None:
    base, row = opened(family), tool_row()
    shape = CallFormat.of(base.template)
    assert shape is not None
    examples = Encoder.of(base, MAX_LENGTH).encode(row)
    learned = "".join(trained(base, example) for example in examples)
    call, end, rest = learned.partition(END[family])
    assert shape.read(call.strip()) == ("get_stock", {"part": "Pumpe 7"})
    assert end and rest.strip() == "There are 40." + END[family]
    # What the grammar lets the model write is what it learned to write, token by token.
    written = shape.write("get_stock", {"part": "Pumpe 7"})
    prompt = base.template.render(row.messages[:1], True, row.tools)
    ids = base.tokenizer.encode(prompt + call, add_special_tokens=False).ids
    assert written == call.strip() and list(examples[0].ids[: len(ids)]) == ids
    start, _ = parts(examples[-1])
    assert list(examples[-1].ids[:start]) == served(base, row, 3)
    asked = decode(base, examples[-1].ids[:start])
    assert all(text in asked for text in ("The stock of a part", "Pumpe 7", "40"))


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - WITH_TOOLS))
def test_a_family_without_calls_refuses_them(opened: Open, family: str) -> None:
    base = opened(family)
    assert CallFormat.of(base.template) is None
    with pytest.raises(LineError, match=NO_TOOLS):
        Encoder.of(base, MAX_LENGTH).encode(tool_row())


def test_qwen3s_think_block_is_asked_and_not_learned(opened: Open) -> None:
    row = to_messages({"input": "Hello?", "output": "Yes."})
    base = opened("qwen3")
    (example,) = Encoder.of(base, MAX_LENGTH).encode(row)
    assert trained(base, example) == "Yes.<|im_end|>"
    start, _ = parts(example)
    prompt = "<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"
    assert decode(base, example.ids[:start]) == prompt + "<think>\n\n</think>\n\n"

    thinking = opened("qwen3", enable_thinking=True)
    (example,) = Encoder.of(thinking, MAX_LENGTH).encode(row)
    assert trained(thinking, example) == "Yes.<|im_end|>"
    assert decode(thinking, served(thinking, row, 1)) == prompt
    reasoned = "<think>\nShort.\n</think>\n\nYes."
    row = to_messages({"input": "Hello?", "output": reasoned})
    (example,) = Encoder.of(thinking, MAX_LENGTH).encode(row)
    assert trained(thinking, example) == reasoned + "<|im_end|>"
    with pytest.raises(LineError, match="enable_thinking is off"):
        Encoder.of(base, MAX_LENGTH).encode(row)


@pytest.mark.parametrize("family", FAMILIES)
def test_serving_reads_text_as_training_does(opened: Open, family: str) -> None:
    from transformers import AutoTokenizer

    base = opened(family)
    theirs = AutoTokenizer.from_pretrained(base.path).backend_tokenizer
    for text in ("Größe? 12 €", "  two  blanks\n\n", "日本語 <b>", 'x{"a": 1}'):
        row = to_messages({"input": f"- {text}", "output": "Yes."})
        prompt = base.template.render(row.messages[:1], add_generation_prompt=True)
        ids = theirs.encode(prompt, add_special_tokens=False).ids
        assert list(ids) == served(base, row, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_variation_keeps_template_and_evidence(opened: Open, family: str) -> None:
    """Every value that is copied stays in the prompt, every mark and digit in its place."""
    base = opened(family)
    names = [
        f"{first}{middle}{last}"
        for first in ("Mar", "Bel", "Tor", "Lin")
        for middle in ("burg", "ville", "ton")
        for last in ("rot", "blau", "hell")
    ]
    lines = [
        {"input": f"INST-{n}A of {name} GmbH, user!", "output": {"name": name, "id": n}}
        for n, name in enumerate(names)
    ]
    rows = {i: to_messages(line) for i, line in enumerate(lines)}
    encoder = Encoder.of(base, MAX_LENGTH)
    before = [example for i, row in rows.items() for example in encoder.encode(row, i)]
    after = Augmenter(rows, encoder, Amounts(noise=0.3, variation=1), 0)(before, epoch=0)
    kept = 0
    for n, (old, new) in enumerate(zip(before, after, strict=True)):
        start, _ = parts(new)
        value = json.loads(trained(base, new).strip().removesuffix(END[family]))
        assert value["id"] == n and f" {value['name']} " in decode(base, new.ids[:start])
        assert marks(base, new) == marks(base, old)
        assert LETTERS.sub("w", decode(base, new.ids)) == LETTERS.sub("w", decode(base, old.ids))
        kept += value["name"] == names[n]
    assert kept < 0.1 * len(names)


def marks(base: Base, example: Example) -> Counter[int]:
    """How often each control token stands in an example."""
    control = set(base.template.token_ids.values())
    return Counter(token for token in example.ids if token in control)
