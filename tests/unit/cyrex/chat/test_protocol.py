"""What the API and a worker say to each other survives the way."""

from __future__ import annotations

import pytest

from cyrex.chat.protocol import Ask, Event, decode, encode
from cyrex.chat.token_text import TokenText
from settings import REPOSITORY


def test_an_ask_comes_back_whole() -> None:
    ask = Ask(
        company_id="acme",
        conversation_id="c",
        reply_to="channel",
        adapter_id="a",
        sha256="0" * 64,
        messages=[{"role": "user", "content": 'zwölf "Boxkämpfer" \n'}],
        max_tokens=5,
        seconds=3.5,
        sampling={"temperature": 0.5, "seed": 2**63 - 1},
        stop=["x"],
        grammar=("lark", 'start: "a"'),
        stream=True,
    )
    again = Ask.load(ask.dump())
    assert (again.messages, again.sampling) == (ask.messages, ask.sampling)
    assert again.grammar is not None
    assert ask.grammar is not None
    assert list(again.grammar) == list(ask.grammar)


def test_events_come_back_in_order() -> None:
    events = [Event("c:1", 0, "started", None), Event("c:1", 1, "delta", ["é\n", None])]
    assert decode(encode(events, ["c:1"]).encode()) == (events, ["c:1"])


@pytest.mark.parametrize("odd", [b"", b"5", b"[[[1]],[]]", b"\xff", b'{"a":1}'])
def test_what_no_worker_sends_is_an_error(odd: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(odd)


def test_tokens_are_told_with_their_bytes() -> None:
    text = TokenText.load(REPOSITORY / "base_model" / "cyrex-small")
    said = "Zwölf Boxkämpfer 🥊 jagen\nViktor"
    tokens = text._tokenizer.encode(said, add_special_tokens=False).ids
    assert text.count(said) == len(tokens)
    assert b"".join(text.bytes_of(token) for token in tokens).decode() == said
    entries = text.entries([*tokens, 1], [-0.5] * (len(tokens) + 1), [])
    assert len(entries) == len(tokens), "the end-of-turn token is not told"
    assert entries[0]["logprob"] == -0.5
