"""Control tokens in data: out of the answers, counted everywhere."""

from __future__ import annotations

import pytest

from helox.control import ControlTokens, Found

OWN = ControlTokens(("<|end|>", "<|user|>"))


@pytest.mark.parametrize(
    ("answer", "left", "stripped"),
    [
        ("blue<|end|>", "blue", ["<|end|>"]),
        ("blue <|end|>\n", "blue", ["<|end|>"]),
        ("a<|end|>b", "ab", ["<|end|>"]),
        ("<|user|> a", "a", ["<|user|>"]),
        ("blue</s></s>", "blue", ["</s>", "</s>"]),
        ("blue<|im_end|>", "blue", ["<|im_end|>"]),
        ("<s>old</s>", "<s>old</s>", []),
        ("say </s> twice", "say </s> twice", []),
        ("  as it is\n", "  as it is\n", []),
    ],
)
def test_of_an_answer(answer: str, left: str, stripped: list[str]) -> None:
    found = Found()
    assert OWN.strip(answer, found) == left
    assert sorted(found.stripped.elements()) == sorted(stripped)


def test_a_question_is_left_as_it_is_and_looked_at() -> None:
    found = Found()
    OWN.look("<|user|>hi [INST]", found)
    assert dict(found.shown) == {"<|user|>": 1, "[INST]": 1}
