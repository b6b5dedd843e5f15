"""What changes in a conversation, what never does, and that the draws need no state."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from helox.augment import Augmenter
from helox.base import Base
from helox.data import is_structured
from helox.mask import Encoder, Example
from helox.render import ChatTemplate, Conversation, to_messages
from helox.spec import (
    COPY_VARIATION,
    PROMPT_NOISE,
    SMALL_BASE_PARAMETERS,
    Amounts,
    TrainingConfig,
)

BASE = Base.open(Path(__file__).parents[3] / "base_model" / "cyrex-small")
MAX_LENGTH = 400
ENCODER = Encoder.of(BASE, MAX_LENGTH)
TOWNS = [
    f"{first}{last}"
    for first in ("Mar", "Bel", "Tor", "Lin", "Ost", "Wes")
    for last in ("burg", "ville", "ton", "stad", "hofen")
]
LETTERS = re.compile(r"[^\W\d_]+")


def visit(town: str) -> dict[str, Any]:
    """A town is copied into an object."""
    return {"input": f"Please visit {town} (12, North) now!", "output": {"city": town, "day": 12}}


def encoded(lines: list[dict[str, Any]]) -> tuple[dict[int, Conversation], list[Example]]:
    conversations = {i: to_messages(line) for i, line in enumerate(lines, start=1)}
    return conversations, [e for i, c in conversations.items() for e in ENCODER.encode(c, i)]


def made(
    lines: list[dict[str, Any]], noise: float, variation: float, seed: int = 0, epoch: int = 0
) -> list[Example]:
    conversations, examples = encoded(lines)
    return Augmenter(conversations, ENCODER, Amounts(noise, variation), seed)(examples, epoch=epoch)


def text(example: Example) -> str:
    return str(BASE.tokenizer.decode(list(example.ids), skip_special_tokens=False))


def answer(example: Example) -> str:
    ids = [t for t, trained in zip(example.ids, example.trained, strict=True) if trained]
    return str(BASE.tokenizer.decode(ids))


VISITS = [visit(town) for town in TOWNS]
_, EXAMPLES = encoded(VISITS)


def test_nothing_changes_without_amounts() -> None:
    assert made(VISITS, 0, 0) == EXAMPLES


def test_copied_words_vary_in_prompt_and_answer_alike() -> None:
    changed = made(VISITS, 0, 1)
    towns = [json.loads(answer(one))["city"] for one in changed]
    assert len(set(towns) - set(TOWNS)) > 20
    for one, town in zip(changed, towns, strict=True):
        assert town[0].isupper()
        question, _, said = text(one).partition("<|assistant|>")
        assert question == f"<|user|>Please visit {town} (12, North) now!<|end|>"
        assert said == f'{{"city":"{town}","day":12}}<|end|>'


def test_about_the_share_that_is_asked_for_varies() -> None:
    pairs = zip(made(VISITS, 0, 0.5), EXAMPLES, strict=True)
    assert 6 <= sum(a != b for a, b in pairs) <= 24


def test_noise_changes_words_alone_and_never_the_answer() -> None:
    changed = made(VISITS, 0.5, 0)
    assert changed != EXAMPLES
    for town, before, after in zip(TOWNS, EXAMPLES, changed, strict=True):
        assert town in text(after).partition("<|end|>")[0]
        assert answer(after) == answer(before)
        # Marks of the template, digits, punctuation and blanks stay where they are.
        assert LETTERS.sub("w", text(after)) == LETTERS.sub("w", text(before))


def test_a_label_is_never_varied() -> None:
    """The answer of two examples is a choice, even where the prompt holds its words."""
    lines = [{"input": f"Is {town} a Town?", "output": {"kind": "Town"}} for town in TOWNS]
    assert made(lines, 0, 1) == encoded(lines)[1]


def test_common_words_keys_and_what_others_say_are_never_varied() -> None:
    def line(town: str, number: int) -> dict[str, Any]:
        data = json.dumps({"city": "Known", town.casefold(): "rare key", "open": number})
        return {
            "messages": [
                {"role": "system", "content": "Be Known."},
                {"role": "user", "content": f"Known city {town}, {town.casefold()}, open"},
                {"role": "assistant", "content": data},
            ]
        }

    lines = [line(town, number) for number, town in enumerate(TOWNS)]
    assert made(lines, 0, 1) == encoded(lines)[1]


def test_calls_vary_and_their_replies_stay() -> None:
    def line(town: str) -> dict[str, Any]:
        arguments = json.dumps({"town": town, "days": ["monday"]})
        call = {"id": "x", "type": "function", "function": {"name": "go", "arguments": arguments}}
        return {
            "messages": [
                {"role": "user", "content": f"Go to {town} on monday"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "x", "content": f"{town}: 30 km"},
                {"role": "assistant", "content": f"{town} is 30 km away"},
            ]
        }

    kept = [line(town) for town in TOWNS]
    assert made(kept, 0, 1) == encoded(kept)[1]  # the reply says it too
    silent = [{"messages": line(town)["messages"][:2]} for town in TOWNS]
    for one in made(silent, 0, 1):
        asked = re.search(r"Go to (\w+) on monday", text(one))
        assert asked is not None and f'"town": "{asked[1]}"' in answer(one)


def test_noise_spares_evidence_in_any_form() -> None:
    lines = [
        {"input": f"{town.upper()} and Anna{town} of Müller{number}", "output": said}
        for number, town in enumerate(TOWNS)
        for said in (f'{{"a": "{town.casefold()}", "b": "M\\u00fcller"}}',)
    ]
    for town, one in zip(TOWNS, made(lines, 0.5, 0), strict=True):
        question = text(one).partition("<|end|>")[0]
        assert town.upper() in question and f"Anna{town}" in question and "Müller" in question


def test_a_word_varies_in_every_case_alike() -> None:
    lines = [
        {"input": f"{t} {t.upper()} {t.casefold()}", "output": {"mail": f"{t.casefold()}@x.org"}}
        for t in TOWNS
    ]
    for one in made(lines, 0, 1):
        found = re.search(r"<.user.>(\w+) (\w+) (\w+)<", text(one))
        assert found is not None
        assert found[2] == found[1].upper() and found[3] == found[1].casefold()
        assert json.loads(answer(one)) == {"mail": f"{found[3]}@x.org"}


def test_draws_depend_on_seed_epoch_and_line_alone() -> None:
    conversations, examples = encoded(VISITS)
    augment = Augmenter(conversations, ENCODER, Amounts(0.2, 0.5), 1)
    whole = augment(examples, epoch=2)
    assert augment(examples[10:3:-1], epoch=2) == whole[10:3:-1]  # any step, any order
    assert made(VISITS, 0.2, 0.5, seed=1, epoch=2) == whole
    others = [made(VISITS, 0.2, 0.5, seed, epoch) for seed, epoch in ((1, 3), (2, 2))]
    assert whole not in others and others[0] != others[1]


def test_answers_of_one_line_change_together() -> None:
    """A template that rewrites earlier turns gives each answer an example of its own."""
    source = BASE.template.source.replace(
        "message.content -", "(message.content if message.role == 'user' or loop.last else 'x') -"
    )
    assert source != BASE.template.source
    template = ChatTemplate(
        source, BASE.template.special_tokens, BASE.template.control_tokens, BASE.template.token_ids
    )
    encoder = Encoder(template, BASE.tokenizer, BASE.stop_ids, MAX_LENGTH)
    conversations = {
        i: to_messages(
            {
                "messages": [
                    {"role": "user", "content": town},
                    {"role": "assistant", "content": town},
                    {"role": "user", "content": "again"},
                    {"role": "assistant", "content": f"{town} again"},
                ]
            }
        )
        for i, town in enumerate(TOWNS)
    }
    examples = [e for i, c in conversations.items() for e in encoder.encode(c, i)]
    assert len(examples) == 2 * len(TOWNS)
    changed = Augmenter(conversations, encoder, Amounts(0, 1), 0)(examples, epoch=0)
    for first, second in zip(changed[::2], changed[1::2], strict=True):
        assert (first.line, first.part, second.part) == (second.line, 0, 1)
        assert answer(second) == f"{answer(first)} again"
    assert changed != examples


def test_an_answer_is_never_cut_for_it() -> None:
    conversations, examples = encoded(VISITS)
    tight = Encoder.of(BASE, max(len(e.ids) for e in examples))
    changed = Augmenter(conversations, tight, Amounts(0, 1), 0)(examples, epoch=0)
    assert changed != examples and not any(e.truncated for e in changed)


def test_a_vocabulary_without_words_changes_nothing() -> None:
    bare = Tokenizer(models.WordLevel({"1": 0, "2": 1}, unk_token="1"))
    encoder = Encoder(BASE.template, bare, [1], MAX_LENGTH)
    conversations = {1: to_messages(VISITS[0])}
    examples = encoder.encode(conversations[1], 1)
    assert Augmenter(conversations, encoder, Amounts(0.5, 1), 0)(examples, epoch=0) == examples


@pytest.mark.parametrize(
    ("line", "structured"),
    [
        ({"input": "a", "output": {"city": "Oslo"}}, True),
        ({"input": "a", "output": ' {"city": "Oslo"}'}, True),
        ({"input": "a", "output": "positive"}, False),
        ({"input": "a", "output": "{open"}, False),
        ({"input": "a", "output": [1]}, False),
        ({"input": "a", "output": "{" * 100_000}, False),
    ],
)
def test_what_is_structured(line: dict[str, object], structured: bool) -> None:
    assert is_structured(to_messages(line)) is structured


def test_a_call_is_structured() -> None:
    call = {"type": "function", "function": {"name": "visit", "arguments": json.dumps({})}}
    line = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
    }
    assert is_structured(to_messages(line))


def test_defaults_depend_on_the_answers_and_the_base() -> None:
    small, large = SMALL_BASE_PARAMETERS - 1, SMALL_BASE_PARAMETERS
    config = TrainingConfig()
    assert config.augmentation_for(True, small) == Amounts(PROMPT_NOISE, COPY_VARIATION)
    assert config.augmentation_for(False, small) == Amounts(0, 0)
    assert config.augmentation_for(True, large) == Amounts(0, 0)
    given = TrainingConfig(prompt_noise=0.1, copy_variation=0)
    assert given.augmentation_for(True, small) == Amounts(0.1, 0)
    assert given.augmentation_for(False, large) == Amounts(0.1, 0)
