"""The generators: a function of their seed, right by construction, and learnable."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable

import pytest

from base_model.diet import (
    classify,
    dialogue,
    extraction,
    lexicon,
    opinions,
    repeats,
    rewriting,
    sentiment,
    toolcalls,
    values,
    words,
)
from base_model.diet.example import Example, Piece
from base_model.tokenizer import VOCAB_SIZE
from base_model.wordnet import Synset

SYNSETS = [
    Synset(
        (f"{topic} {i}", f"{word}y"),
        f"a {word} of the {topic}",
        (f"the {word} went over many hills", f"she saw {word} number {topic}"),
        topic,
    )
    for topic in ("animal", "plant", "food", "act", "place", "time")
    for i, word in enumerate(("river", "stone", "cloud", "window", "garden", "letter"))
]
FIELDS = extraction.Extraction(extraction.Filler([e for s in SYNSETS for e in s.examples]))
LABELS = classify.Classification(SYNSETS)
GENERATORS: dict[str, Callable[[random.Random], Example]] = {
    "token_repeat": repeats.token_repeat,
    "echo": repeats.echo,
    "asked": FIELDS.asked,
    "shown": FIELDS.shown,
    "typed": extraction.typed,
    "labels_shown": LABELS.shown,
    "told": LABELS.told,
    "mood": sentiment.mood,
    "kinds": LABELS.kinds,
    "keyword_label": LABELS.keyword_label,
    "best_label": LABELS.best_label,
    "native": toolcalls.native,
    "written": toolcalls.written,
    "lists": rewriting.lists,
    "words": rewriting.words,
    "compare": rewriting.compare,
    "memory": dialogue.memory,
    "persona": dialogue.persona,
    "glosses": words.Glosses(SYNSETS),
}


def prompt_and_answer(example: Example) -> tuple[str, str]:
    """The text read before the last learned piece, and that piece without its end token."""
    texts = [str(p.content) for p in example]
    return "".join(texts[:-1]), texts[-1].removesuffix("<|end|>")


@pytest.mark.parametrize("name", GENERATORS)
def test_same_seed_same_examples_and_something_to_learn(name: str) -> None:
    generate = GENERATORS[name]
    one = [generate(random.Random(seed)) for seed in range(40)]
    assert one == [generate(random.Random(seed)) for seed in range(40)]
    assert len({str(e) for e in one}) > 20
    for example in one:
        assert example[0].weight == 0
        assert name in ("token_repeat", "labels_shown") or str(example[-1].content).endswith(
            "<|end|>"
        )
    assert any(p.weight > 0 for e in one for p in e)


def test_repeats_are_repeats_of_ordinary_tokens() -> None:
    for seed in range(30):
        first, again = repeats.token_repeat(random.Random(seed))
        assert isinstance(first.content, list) and isinstance(again.content, list)
        assert again.content == first.content * (len(again.content) // len(first.content))
        assert min(first.content) >= repeats.FIRST_ID and max(first.content) < VOCAB_SIZE


def test_extracted_values_stand_in_the_text() -> None:
    for seed in range(200):
        prompt, answer = prompt_and_answer(extraction.typed(random.Random(seed)))
        for value in re.split(r'[{}":,|= \n]+', answer):
            assert value in prompt


@pytest.mark.parametrize("layout", extraction.LAYOUTS)
def test_every_layout_shows_every_value(layout: str) -> None:
    pairs = [("order date", "2024-05-06"), ("carrier", "Vogel AG"), ("count", "17")]
    text = extraction.document(pairs, layout, ("", ""), random.Random(3))
    assert all(value in text for _, value in pairs)


def test_notations() -> None:
    pairs = [("a", "1"), ("b", "x y")]
    assert extraction.notation("json", pairs) == '{"a":"1","b":"x y"}'
    assert extraction.notation("pairs", pairs) == "a=1 b=x y"
    assert extraction.notation("values", pairs) == "1 | x y"


def test_no_example_is_an_invoice() -> None:
    for generate in (FIELDS.asked, FIELDS.shown, extraction.typed, toolcalls.written):
        for seed in range(150):
            assert (
                "invoice"
                not in "".join(str(p.content) for p in generate(random.Random(seed))).lower()
            )


def test_tool_call_arguments_were_asked_for() -> None:
    for seed in range(100):
        prompt, answer = prompt_and_answer(toolcalls.written(random.Random(seed)))
        call = json.loads(answer)
        name, arguments = call.values()
        question = prompt.split("<|user|>")[1]
        assert name in prompt and arguments
        assert all(value in question for value in arguments.values())


def test_opinions_keep_to_their_side() -> None:
    praise, blame = set(lexicon.PRAISE), set(lexicon.BLAME)
    assert not praise & blame
    rng = random.Random(0)
    for _ in range(300):
        assert not set(re.findall(r"[a-z]+", opinions.opinion(True, rng).lower())) & blame


def test_a_label_is_not_learned_before_it_could_be_known() -> None:
    for seed in range(50):
        example = LABELS.shown(random.Random(seed))
        answers: list[Piece] = example[1::2]
        for i, piece in enumerate(answers):
            seen = any(earlier.content == piece.content for earlier in answers[:i])
            assert (piece.weight > 0) == seen


def test_kinds_of_values_have_their_form() -> None:
    rng = random.Random(1)
    for _ in range(100):
        assert re.search(r"\d", values.date(rng))
        assert "@" in values.email(rng) and " " not in values.email(rng)
        assert values.percent(rng).endswith("%")
        assert re.search(r"\d", values.amount(rng))
