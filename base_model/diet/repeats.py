"""Repetition: the simplest copying task."""

from __future__ import annotations

import random
import string

from base_model.diet.example import Example, Piece, ask
from base_model.tokenizer import SPECIAL_TOKENS, VOCAB_SIZE

FIRST_ID = len(SPECIAL_TOKENS)


def token_repeat(rng: random.Random) -> Example:
    """Random tokens, repeated two to five times; the loss starts with the second copy."""
    length = rng.randint(3, 40)
    block = [rng.randrange(FIRST_ID, VOCAB_SIZE) for _ in range(length)]
    copies = rng.randint(1, 4) if length < 20 else rng.randint(1, 2)
    return [Piece(block, 0.0), Piece(block * copies, 1.0)]


def code(rng: random.Random) -> str:
    """A reference such as AB-20417, 9931/K or ticket numbers of any make."""
    out = ""
    for _ in range(rng.randint(1, 4)):
        kind = rng.random()
        if kind < 0.55:
            out += "".join(rng.choice(string.digits) for _ in range(rng.randint(1, 6)))
        elif kind < 0.85:
            out += "".join(rng.choice(string.ascii_uppercase) for _ in range(rng.randint(1, 4)))
        else:
            out += "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(1, 4)))
        out += rng.choice(["", "", "-", "-", "/", ".", "_", "#"])
    return out.rstrip("-/._#") or "7"


_ASK = (
    "Repeat: {}",
    "Say exactly: {}",
    "Copy this text: {}",
    "Echo {}",
    "{}\nRepeat the line above.",
    "Write again: {}",
    "{}",
)


def echo(rng: random.Random) -> Example:
    """Codes and numbers to be repeated by the assistant."""
    what = " ".join(code(rng) for _ in range(rng.randint(1, 6)))
    system = "Repeat what the user says." if rng.random() < 0.3 else None
    return ask(rng.choice(_ASK).format(what), what, system)
