"""What changes in an example, what never does, and that the draws need no state."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from helox.augment import Augmenter, Vocabulary
from helox.data import is_structured
from helox.mask import Example
from helox.render import to_messages
from helox.spec import COPY_VARIATION, PROMPT_NOISE, Amounts, TrainingConfig

END = "<|end|>"
NAMES = [f"Name{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
WORDS = ["Ġplease", "Ġvisit", "Ġthe", "Ġtown", "Ġof", "Ġnow", "city", "lower", "UP", "PER"]
MARKS = ['{"', '":"', '"}', "1", "2", "3"]


def tokenizer() -> Tokenizer:
    texts = [*NAMES, *WORDS, *MARKS]
    made = Tokenizer(models.WordLevel({text: i for i, text in enumerate(texts)}, unk_token="1"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens([AddedToken(END, special=True)])
    return made


TOKENIZER = tokenizer()
VOCABULARY = Vocabulary(TOKENIZER)


def ids(*texts: str) -> list[int]:
    found = [TOKENIZER.token_to_id(text) for text in texts]
    assert None not in found
    return found


def example(prompt: list[str], answer: list[str]) -> Example:
    tokens = [*ids(*prompt, END), *ids(*answer, END)]
    trained = bytes(len(prompt) + 1) + b"\1" * (len(answer) + 1)
    return Example(tuple(tokens), trained, 0, len(tokens))


def visit(name: str) -> Example:
    """A town is copied into an object."""
    prompt = ["Ġplease", "Ġvisit", name, "1", "2"]
    return example(prompt, ['{"', "city", '":"', name, '"}'])


VISITS = [visit(name) for name in NAMES]


def made(examples: list[Example], noise: float, variation: float, seed: int = 0) -> list[Example]:
    augment = Augmenter(examples, VOCABULARY, Amounts(noise, variation), seed)
    return augment(examples, epoch=0, step=0)


def texts(one: Example) -> list[str]:
    return [TOKENIZER.id_to_token(token) or "" for token in one.ids]


def test_nothing_changes_without_amounts() -> None:
    assert made(VISITS, 0, 0) == VISITS


def test_copied_words_vary_in_prompt_and_answer_alike() -> None:
    changed = made(VISITS, 0, 1)
    assert changed != VISITS
    for one in changed:
        found = texts(one)
        name = found[2]
        assert name in (*NAMES, "Namea")
        assert found == [
            *("Ġplease", "Ġvisit", name, "1", "2", END),
            *('{"', "city", '":"', name, '"}', END),
        ]
    assert len({texts(one)[2] for one in changed}) > 5


def test_about_the_share_that_is_asked_for_varies() -> None:
    examples = VISITS * 1
    varied = sum(a != b for a, b in zip(made(examples, 0, 0.5), examples, strict=True))
    assert 5 <= varied <= 20


def test_a_label_is_never_varied() -> None:
    """The answer of two examples is a choice, even where the prompt holds its words."""
    prompts = [["Ġvisit", name, "Ġtown"] for name in NAMES]
    examples = [example(prompt, ["Ġtown", "lower"]) for prompt in prompts]
    assert made(examples, 0, 1) == examples


def test_common_words_of_the_answers_are_their_form() -> None:
    examples = [
        example(["Ġvisit", "city", name], ['{"', "city", '":"', name, '"}']) for name in NAMES
    ]
    for one in made(examples, 0, 1):
        assert (texts(one)[1], texts(one)[5]) == ("city", "city")


def test_noise_spares_the_answer_and_what_it_repeats() -> None:
    changed = made(VISITS, 0.5, 0)
    assert changed != VISITS
    for before, after in zip(VISITS, changed, strict=True):
        assert after.trained == before.trained
        assert after.ids[6:] == before.ids[6:]
        assert (after.ids[2], after.ids[5]) == (before.ids[2], before.ids[5])
        assert set(after.ids[:2]) <= {*before.ids[:2], *VOCABULARY.words}


def test_draws_depend_on_seed_epoch_and_step_alone() -> None:
    def draw(seed: int, epoch: int, step: int) -> list[Example]:
        augment = Augmenter(VISITS, VOCABULARY, Amounts(0.2, 0.5), seed)
        return augment(VISITS, epoch=epoch, step=step)

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({tuple(draw(*order)) for order in ((1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4))}) == 4


def test_a_vocabulary_without_words_is_left_alone() -> None:
    bare = Tokenizer(models.WordLevel({"1": 0, "2": 1}, unk_token="1"))
    augment = Augmenter(VISITS, Vocabulary(bare), Amounts(0.5, 1), 0)
    assert augment(VISITS, epoch=0, step=0) == VISITS


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


def test_defaults_depend_on_the_answers() -> None:
    config = TrainingConfig()
    assert config.augmentation_for(structured=True) == Amounts(PROMPT_NOISE, COPY_VARIATION)
    assert config.augmentation_for(structured=False) == Amounts(0, 0)
    given = TrainingConfig(prompt_noise=0.1, copy_variation=0)
    assert given.augmentation_for(structured=True) == Amounts(0.1, 0)
    assert given.augmentation_for(structured=False) == Amounts(0.1, 0)
