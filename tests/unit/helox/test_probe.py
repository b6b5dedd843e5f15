"""Chat templates that behave like well-known ones, in training and in serving."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helox.base import Base
from helox.calls import CallFormat
from helox.errors import LineError, UnfitTemplate
from helox.fit import NO_TOOLS
from helox.mask import Encoder
from helox.render import ChatTemplate, to_messages

END = "<|end|>"
MARKS = (END, "<|user|>", "<|assistant|>", "<|system|>")

LLAMA2 = """{%- for m in messages -%}
{%- if m.role=='user' -%}[INST] {{ m.content|trim }} [/INST]
{%- elif m.role=='assistant' %} {{ m.content|trim }} <|end|>{%- endif -%}
{%- endfor -%}"""
GEMMA = """{%- if messages[0].role=='system' -%}
{{ raise_exception('System role not supported') }}{%- endif -%}
{%- for m in messages -%}
{%- if (m.role=='user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate') }}{%- endif -%}
<|{{ m.role }}|>{{ m.content|trim }}<|end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"""
# The prompt opens a block of reasoning, and answers are written without theirs.
R1 = """{%- for m in messages -%}
{%- if m.role=='assistant' -%}<|assistant|>{{ m.content.split('</think>')[-1] }}<|end|>
{%- else -%}<|user|>{{ m.content }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|><think>{{ '\\n' }}{%- endif -%}"""
# An empty block stands before the last answer, whatever enable_thinking says.
ALWAYS_EMPTY = """{%- for m in messages -%}
<|{{ m.role }}|>
{%- if m.role=='assistant' and loop.last -%}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif -%}
{{ m.content }}<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"""
# Like Qwen3's of 2507: the prompt opens a block, and answers have theirs.
THINKER = """{%- for m in messages -%}
<|{{ m.role }}|>
{%- if m.role=='assistant' and loop.last and '</think>' not in m.content -%}
{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif -%}
{{ m.content }}<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{{ '<think>\\n' }}{%- endif -%}"""
SWITCHED = """{%- for m in messages -%}<|{{ m.role }}|>{{ m.content }}<|end|>{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>
{%- if enable_thinking is defined and not enable_thinking -%}
{{ '<think></think>' }}{%- endif -%}
{%- endif -%}"""
DATED = "<|system|>{{ strftime_now('%d %b %Y') }}<|end|>"
PLAIN = """{%- for m in messages -%}<|{{ m.role }}|>{{ m.content }}<|end|>{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"""
NO_PROMPT = "{%- for m in messages -%}{{ m.role }}: {{ m.content }}\n{% endfor -%}"
# Like Phi's: the conversation has an end of its own.
PHI = """{%- for m in messages -%}<|{{ m.role }}|>{{ m.content }}<|end|>{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- else -%}{{ eos_token }}{%- endif -%}"""
# Like Llama 3's first: the answer's header stands at the end, asked for or not.
ALWAYS_HEADER = """{%- for m in messages -%}<|{{ m.role }}|>{{ m.content }}<|end|>{%- endfor -%}
<|assistant|>"""
ENDS_ALWAYS = "{%- for m in messages -%}{{ m.role }}: {{ m.content }}\n{% endfor -%}{{ eos_token }}"
OTHER_HEADER = """{%- for m in messages -%}<{{ m.role }}>{{ m.content }}{%- endfor -%}
{%- if add_generation_prompt -%}<bot>{%- endif -%}"""

Example = dict[str, Any]
QUESTION = {"input": "Hello?", "output": "Yes."}
TURNS: Example = {
    "messages": [
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "B"},
        {"role": "assistant", "content": "two"},
    ]
}
SYSTEM: Example = {"messages": [{"role": "system", "content": "Be short."}, *TURNS["messages"]]}
TWO_USERS: Example = {
    "messages": [{"role": "user", "content": "Z"}, *TURNS["messages"][:2]],
}
ALL = {
    "llama2": LLAMA2,
    "gemma": GEMMA,
    "r1": R1,
    "always-empty": ALWAYS_EMPTY,
    "thinker": THINKER,
    "switched": SWITCHED,
    "dated": DATED + PLAIN,
    "no-prompt": NO_PROMPT,
    "phi": PHI,
    "always-header": ALWAYS_HEADER,
    "ends-always": ENDS_ALWAYS,
}


@pytest.fixture
def base_of(tiny_base: Path, tmp_path: Path) -> Callable[..., Base]:
    def make(template: str, enable_thinking: bool = False) -> Base:
        directory = tmp_path / "base"
        shutil.copytree(tiny_base, directory, dirs_exist_ok=True)
        (directory / "chat_template.jinja").write_text(template)
        return Base.open(directory, enable_thinking)

    return make


def asked_and_learned(base: Base, line: Example) -> list[tuple[str, str]]:
    """Of each example: the text before its last answer, and all that is learned."""
    found = []
    for example in Encoder.of(base, 200).encode(to_messages(line)):
        end = example.trained.rfind(1) + 1
        start = example.trained.rfind(0, 0, end) + 1
        ids = [t for t, w in zip(example.ids, example.trained, strict=True) if w]
        texts = (list(example.ids[:start]), ids)
        asked, learned = (base.tokenizer.decode(t, skip_special_tokens=False) for t in texts)
        found.append((asked, learned))
    return found


@pytest.mark.parametrize("template", ALL.values(), ids=list(ALL))
@pytest.mark.parametrize("line", [QUESTION, TURNS, SYSTEM, TWO_USERS])
def test_the_answer_is_learned_and_asked_as_in_serving(
    base_of: Callable[..., Base], template: str, line: Example
) -> None:
    base = base_of(template)
    row = to_messages(line)
    examples = asked_and_learned(base, line)
    learned = "".join(text for _, text in examples).replace(" ", "").replace("\n", "")
    said = [m["content"] for m in row.messages if m["role"] == "assistant"]
    assert learned == "".join(text + END for text in said)
    prompt = base.template.render(row.messages[:-1], add_generation_prompt=True)
    assert examples[-1][0] == prompt
    assert all(message["content"] in examples[-1][0] for message in row.messages[:-1])


def test_a_block_of_reasoning_is_closed_in_the_prompt(base_of: Callable[..., Base]) -> None:
    for template in (R1, ALWAYS_EMPTY, THINKER):
        ((asked, learned),) = asked_and_learned(base_of(template), QUESTION)
        assert asked == "<|user|>Hello?" + END * (template != R1) + (
            "<|assistant|><think>\n\n</think>\n\n"
        )
        assert learned == "Yes." + END
    # That template writes its block in prompts alone: it stands in no answer.
    ((asked, _),) = asked_and_learned(base_of(SWITCHED), QUESTION)
    assert asked.endswith("<think></think>")


def test_reasoning_is_learned_where_it_is_on(base_of: Callable[..., Base]) -> None:
    base = base_of(THINKER, enable_thinking=True)
    prompt = "<|user|>Hello?<|end|><|assistant|><think>\n"
    assert base.template.render(to_messages(QUESTION).messages[:1], True) == prompt
    # An answer without reasoning teaches nothing about the block.
    assert asked_and_learned(base, QUESTION) == [(prompt + "\n</think>\n\n", "Yes." + END)]
    row = {"input": "Hello?", "output": "<think>\nShort.</think>Yes."}
    assert asked_and_learned(base, row) == [(prompt, "Short.</think>Yes." + END)]
    assert (
        base_of(SWITCHED, enable_thinking=True)
        .template.render(to_messages(QUESTION).messages[:1], True)
        .endswith("<|assistant|>")
    )


def test_reasoning_that_the_template_drops_is_refused_by_name(
    base_of: Callable[..., Base],
) -> None:
    row = {"input": "Hello?", "output": "<think>\nShort.</think>Yes."}
    with pytest.raises(LineError, match="enable_thinking is off") as caught:
        asked_and_learned(base_of(R1), row)
    assert caught.value.field == "messages[1].content"


def test_the_identity_of_a_base_says_whether_it_reasons(base_of: Callable[..., Base]) -> None:
    assert base_of(PLAIN).sha256 != base_of(PLAIN, enable_thinking=True).sha256


def test_a_system_message_that_is_refused_begins_the_question() -> None:
    template = ChatTemplate(GEMMA, {"eos_token": END}, MARKS)
    messages = to_messages(SYSTEM).messages
    assert template.render(messages[:2]) == "<|user|>Be short.\n\nA<|end|>\n"
    with pytest.raises(LineError, match="no user message follows"):
        template.render(messages[:1])


def test_messages_that_the_template_takes_are_left_alone() -> None:
    template = ChatTemplate(PLAIN, {"eos_token": END}, MARKS)
    line = {"messages": [*SYSTEM["messages"][:2], *TWO_USERS["messages"]]}
    messages = to_messages(line).messages
    assert template.render(messages) == "".join(
        f"<|{m['role']}|>{m['content']}{END}" for m in messages
    )


def test_the_token_that_ends_a_turn_ends_an_answer(tokenizer_dir: Callable[..., Path]) -> None:
    """Llama 3's tokenizer calls another token the end of text."""
    directory = tokenizer_dir(PLAIN, eos_token="<|system|>")
    template = ChatTemplate.load(directory)
    assert template.traits.end == END
    base = Base(directory, {})
    assert [base.tokenizer.id_to_token(i) for i in base.stop_ids] == ["<|system|>", END]


def test_text_behind_the_last_answer_is_no_part_of_it(base_of: Callable[..., Base]) -> None:
    base = base_of(ALWAYS_HEADER)
    assert len(Encoder.of(base, 200).encode(to_messages(TURNS))) == 1
    assert len(Encoder.of(base_of(NO_PROMPT), 200).encode(to_messages(TURNS))) == 2


def test_a_template_that_drops_calls_refuses_them() -> None:
    template = ChatTemplate(LLAMA2, {"eos_token": END}, MARKS)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    calling = {"role": "assistant", "content": "", "tool_calls": [call]}
    assert CallFormat.of(template) is None
    for messages in ([calling], [{"role": "tool", "content": "7", "tool_call_id": "1"}]):
        with pytest.raises(LineError, match=NO_TOOLS):
            template.render([{"role": "user", "content": "q"}, *messages])


def test_ids_of_calls_are_counted() -> None:
    """Some templates print them: chance would be learned, and one demands nine characters."""
    source = PLAIN.replace(
        "{{ m.content }}",
        "{{ m.content }}{{ m.tool_call_id }}{%- for c in m.tool_calls or [] -%}"
        "{{ c.id }}{{ c.function.name }}{{ c.function.arguments|tojson }}{%- endfor -%}",
    )
    template = ChatTemplate(source, {"eos_token": END}, MARKS)

    def call(number: str) -> Example:
        return {"id": number, "type": "function", "function": {"name": "f", "arguments": {}}}

    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [call("x7"), call("k9")]},
        {"role": "tool", "content": "second", "tool_call_id": "k9"},
        {"role": "tool", "content": "first", "tool_call_id": "x7"},
    ]
    assert template.render(messages) == (
        "<|user|>q<|end|><|assistant|>call00001f{}call00002f{}<|end|>"
        "<|tool|>secondcall00002<|end|><|tool|>firstcall00001<|end|>"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('never') }}", "refuses one question with its answer: .*never"),
        ("{{ missing + 'x' }}", "refuses one question with its answer: .*missing"),
        ("a fixed text", "leaves the user's message out"),
        ("{{ messages[0].content }}", "does not write the assistant's message"),
        (
            "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
            "does not write the answer behind its prompt",
        ),
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}{{ messages[-1].content }}",
            "does not write the answer behind its prompt",
        ),
        (
            OTHER_HEADER,
            "ends its prompt with 'bot>', but writes 'assistant>'",
        ),
    ],
)
def test_a_template_that_cannot_work_is_the_bases_fault(
    base_of: Callable[..., Base], template: str, message: str
) -> None:
    with pytest.raises(UnfitTemplate, match=message) as caught:
        base_of(template)
    assert (caught.value.code, caught.value.field) == ("unfit_chat_template", "base_model")
    assert "\n" not in caught.value.message


def test_reasoning_that_answers_cannot_show_is_the_bases_fault(
    base_of: Callable[..., Base],
) -> None:
    with pytest.raises(UnfitTemplate, match="turn enable_thinking off"):
        base_of(R1, enable_thinking=True)
