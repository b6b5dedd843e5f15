"""Which examples are kept for evaluation: decided by what is asked, not by chance or position.

The same input falls on the same side in every dataset of every run, so a duplicate, a contradiction
or a later upload cannot carry a held-out input into training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from helox.render import Conversation, content_of
from helox.repeats import unordered

KEY_BITS = 64


def key_of(conversation: Conversation) -> int:
    """A number in [0, 2**64) from everything before the first answer.

    Only that: a longer conversation with the same opening repeats the first answer.
    """
    messages = conversation.messages
    first = next(i for i, message in enumerate(messages) if message["role"] == "assistant")
    return _number([[message["role"], message["content"]] for message in messages[:first]])


def turn_key_of(conversation: Conversation) -> int:
    """A number from everything before the last answer: rows with the same one answer one turn."""
    asked = [unordered(message) for message in conversation.messages[:-1]]
    return _number([asked, conversation.tools])


def conversation_key_of(conversation: Conversation) -> int:
    """A number from the whole conversation."""
    return _number([[unordered(message) for message in conversation.messages], conversation.tools])


def _number(value: object) -> int:
    digest = hashlib.sha256(content_of(value).encode()).digest()
    return int.from_bytes(digest[: KEY_BITS // 8], "big")


def is_held_out(key: int, fraction: float) -> bool:
    return key < int(fraction * 2**KEY_BITS)


def choose(keys: Sequence[int], fraction: float) -> list[bool]:
    """True for every example to hold out. At least one input is left to train on."""
    held_out = [is_held_out(key, fraction) for key in keys]
    if keys and all(held_out):
        spared = max(keys)
        held_out = [key != spared for key in keys]
    return held_out
