from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from helox.errors import UnfitTemplate
from helox.mask import Encoder, Example
from helox.render import ChatTemplate, to_messages

STOP = 256  # <|end|> of the tiny tokenizer

MakeDir = Callable[..., Path]


def encoder_of(
    directory: Path, max_length: int = 200, stop_ids: tuple[int, ...] = (STOP,)
) -> Encoder:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    return Encoder(ChatTemplate.load(directory), tokenizer, stop_ids, max_length)


def decode(directory: Path, ids: list[int]) -> str:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def trained(directory: Path, example: Example) -> str:
    return decode(directory, [t for t, w in zip(example.ids, example.trained, strict=True) if w])


def turns(*messages: Any) -> Any:
    roles = ("user", "assistant")
    line = [
        m if isinstance(m, dict) else {"role": roles[i % 2], "content": m}
        for i, m in enumerate(messages)
    ]
    return to_messages({"messages": line})


def test_trained_are_the_answer_and_the_token_that_ends_it(tokenizer_dir: MakeDir) -> None:
    directory = tokenizer_dir()
    (example,) = encoder_of(directory).encode(to_messages({"input": "Größe?", "output": "12 cm"}))
    assert decode(directory, list(example.ids)) == "<|user|>Größe?<|end|><|assistant|>12 cm<|end|>"
    assert trained(directory, example) == "12 cm<|end|>"  # though padding is the same token
    assert not example.truncated


def test_the_prompt_has_the_tokens_that_serving_will_give_it(tokenizer_dir: MakeDir) -> None:
    directory = tokenizer_dir()
    conversation = to_messages({"input": "a b", "output": "c"})
    (example,) = encoder_of(directory).encode(conversation)
    text = ChatTemplate.load(directory).render(conversation.messages[:1], True)
    ids = Tokenizer.from_file(str(directory / "tokenizer.json")).encode(text).ids
    assert list(example.ids[: len(ids)]) == ids
    assert not any(example.trained[: len(ids)]) and all(example.trained[len(ids) :])


def test_every_answer_of_a_conversation_is_trained_once(tokenizer_dir: MakeDir) -> None:
    directory = tokenizer_dir()
    (example,) = encoder_of(directory).encode(turns("q1", "a1", "q2", "a2"))
    assert trained(directory, example) == "a1<|end|>a2<|end|>"


def test_weight_zero_is_read_but_not_learned(tokenizer_dir: MakeDir) -> None:
    directory = tokenizer_dir()
    silent = {"role": "assistant", "content": "a1", "weight": 0}
    (example,) = encoder_of(directory).encode(turns("q1", silent, "q2", "a2"))
    assert "a1" in decode(directory, list(example.ids))
    assert trained(directory, example) == "a2<|end|>"
    (example,) = encoder_of(directory).encode(turns("q1", silent))
    assert example.trained_tokens == 0


def test_tool_turns_keep_their_prefix(tokenizer_dir: MakeDir) -> None:
    directory = tokenizer_dir()
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    conversation = turns(
        "q",
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "7"},
        {"role": "assistant", "content": "seven"},
    )
    (example,) = encoder_of(directory).encode(conversation)
    text = trained(directory, example)
    assert '"name": "f"' in text and text.endswith("seven<|end|>") and "<|tool|>" not in text


def test_a_template_that_rewrites_earlier_turns_gives_an_example_an_answer(
    tokenizer_dir: MakeDir,
) -> None:
    forgetful = (
        "{%- for m in messages -%}{{ '<|' + m.role + '|>' }}"
        "{%- if m.role == 'assistant' and not loop.last -%}…"
        "{%- else -%}{{ m.content }}{%- endif -%}"
        "<|end|>{%- endfor -%}{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
    )
    directory = tokenizer_dir(forgetful)
    examples = encoder_of(directory).encode(turns("q1", "a1", "q2", "a2"))
    assert [trained(directory, e) for e in examples] == ["a1<|end|>", "a2<|end|>"]
    assert "…" in decode(directory, list(examples[1].ids))


def test_what_the_template_writes_behind_the_stop_is_not_trained(tokenizer_dir: MakeDir) -> None:
    directory = tokenizer_dir(
        "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    (example,) = encoder_of(directory).encode(turns("q", "a"))
    assert decode(directory, list(example.ids)).endswith("a<|end|>\n")
    assert trained(directory, example) == "a<|end|>"


def test_a_stop_is_added_where_the_template_writes_none(tokenizer_dir: MakeDir) -> None:
    directory = tokenizer_dir(
        "{% for m in messages %}{{ m.role[0] + ':' + m.content }} {% endfor %}"
    )
    template_without_prompt = encoder_of(directory).encode(turns("q", "yes"))
    assert decode(directory, list(template_without_prompt[0].ids)) == "u:q a:yes<|end|>"
    assert trained(directory, template_without_prompt[0]) == "yes<|end|>"


def test_the_end_is_cut_and_no_false_stop_is_learned(tokenizer_dir: MakeDir) -> None:
    directory = tokenizer_dir()
    (example,) = encoder_of(directory, max_length=16).encode(turns("q", "a" * 40))
    assert example.truncated and len(example.ids) == 16 and example.full_length == 45
    assert trained(directory, example) == "a" * 12


def test_a_prompt_that_fills_the_length_leaves_nothing_to_learn(tokenizer_dir: MakeDir) -> None:
    (example,) = encoder_of(tokenizer_dir(), max_length=16).encode(turns("q" * 40, "a"))
    assert example.truncated and example.trained_tokens == 0


def test_a_template_that_moves_the_answer_is_the_bases_fault(tokenizer_dir: MakeDir) -> None:
    backwards = "{% for m in messages | reverse %}{{ m.content }}{% endfor %}"
    with pytest.raises(UnfitTemplate, match="behind its prompt"):
        encoder_of(tokenizer_dir(backwards)).encode(turns("q", "a"))


def test_a_token_never_straddles_prompt_and_answer(tmp_path: Path) -> None:
    from tokenizers import models

    vocab = {"a": 0, "b": 1, "ab": 2, "$": 3}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b")]))
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}")
    (example,) = Encoder(template, tokenizer, [3], 50).encode(turns("aa", "bb"))
    assert example.ids == (0, 0, 1, 1, 3)  # and not a, ab, b: serving prompts with a, a
    assert list(example.trained) == [0, 0, 1, 1, 1]
