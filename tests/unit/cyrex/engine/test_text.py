from __future__ import annotations

import random
import time

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from cyrex.engine.text import TextStream


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """One token a byte, so that a character may come in pieces."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def pieces(tokenizer: Tokenizer, text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """What is handed out token by token, and the text to the cut."""
    stream = TextStream(tokenizer, stop)
    handed: list[str] = []
    for token in tokenizer.encode(text).ids:
        stream.take(token)
        handed.append(stream.hand_out())
        if stream.cut is not None:
            break
    whole = stream.text[: stream.cut]
    return [*handed, stream.rest(whole)], whole


def test_characters_come_whole(tokenizer: Tokenizer) -> None:
    handed, _ = pieces(tokenizer, "aß€😀")
    assert [piece for piece in handed if piece] == ["a", "ß", "€", "😀"]


def test_nothing_of_a_stop_string_is_handed_out(tokenizer: Tokenizer) -> None:
    handed, whole = pieces(tokenizer, "one END, two ENDED, three", ("ENDED", "never"))
    assert "".join(handed) == whole == "one END, two "
    assert handed[4:8] == ["", "", "", "END,"]  # Held back while it could become ENDED.


def test_what_only_looked_like_a_stop_string_comes_after_all(tokenizer: Tokenizer) -> None:
    handed, whole = pieces(tokenizer, "aab aaab", ("aaaa",))
    assert "".join(handed) == whole == "aab aaab"
    assert pieces(tokenizer, "xaaaab", ("aab",))[1] == "xaa"


def test_the_stop_that_begins_first_counts(tokenizer: Tokenizer) -> None:
    assert pieces(tokenizer, "abcd", ("d", "bcd"))[1] == "a"


def test_whatever_the_text_it_is_cut_where_the_first_stop_begins(tokenizer: Tokenizer) -> None:
    chance = random.Random(3)

    def some(longest: int) -> str:
        return "".join(chance.choice("aab é") for _ in range(chance.randint(1, longest)))

    for _ in range(500):
        text, stop = some(30), tuple(some(5) for _ in range(chance.randint(1, 3)))
        handed, whole = pieces(tokenizer, text, stop)
        # One character at a time: what is complete first ends it.
        ends = [text.find(string) + len(string) for string in stop if string in text]
        until = text[: min(ends, default=len(text))]
        places = [until.find(string) for string in stop if until.endswith(string)]
        assert whole == until[: min(places, default=len(until))]
        assert "".join(handed) == whole


def test_long_stop_strings_cost_next_to_nothing(tokenizer: Tokenizer) -> None:
    """Or one company's would hold up everybody's step."""

    def seconds(stop: tuple[str, ...]) -> float:
        stream = TextStream(tokenizer, stop)
        token = tokenizer.encode("a").ids[0]
        began = time.perf_counter()
        for _ in range(1500):
            stream.take(token)
            stream.hand_out()
        return time.perf_counter() - began

    short = min(seconds(("x",)) for _ in range(3))
    assert min(seconds(tuple("x" * (985 + i) for i in range(16))) for _ in range(2)) < 40 * short


def test_an_unfinished_character_comes_at_the_end(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer, ())
    tokens = tokenizer.encode("a€").ids[:-1]
    for token in tokens:
        stream.take(token)
    assert stream.hand_out() == "a"
    assert stream.rest(tokenizer.decode(tokens)) == "\ufffd"
