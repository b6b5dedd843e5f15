"""Short conversations whose later turns need something said before."""

from __future__ import annotations

import random

from base_model.diet import lexicon
from base_model.diet.example import Example, Message, chat
from base_model.diet.values import KINDS, company, person

_TELL = (
    "My {k} is {v}.",
    "Please note: my {k} is {v}",
    "{k}: {v}",
    "You can write down {v} as my {k}.",
    "For you: {k} {v}",
)
_OK = ("Thank you, noted.", "Got it.", "I will remember that.", "All right.", "Noted: {v}")
_RECALL = ("What is my {k}?", "Which {k} did I tell you?", "Please repeat my {k}.", "My {k}?")
_HELLO = ("Hello", "Hi", "Good morning", "Hey there", "Good evening")
_ANSWERS = ("Hello, how can I help you?", "Hi, what can I do for you?", "Good day. How may I help?")


def memory(rng: random.Random) -> Example:
    """Facts are told one by one and asked back."""
    facts: dict[str, str] = {}
    messages: list[Message] = []
    if rng.random() < 0.3:
        messages += [
            {"role": "user", "content": rng.choice(_HELLO)},
            {"role": "assistant", "content": rng.choice(_ANSWERS), "weight": 0.3},
        ]
    for _ in range(rng.randint(1, 3)):
        draw, nouns = KINDS[rng.choice(list(KINDS))]
        key, value = rng.choice(nouns), draw(rng)
        facts[key] = value
        reply = rng.choice(_OK).format(v=value)
        messages += [
            {"role": "user", "content": rng.choice(_TELL).format(k=key, v=value)},
            {"role": "assistant", "content": reply, "weight": 0.2},
        ]
    key = rng.choice(list(facts))
    messages += [
        {"role": "user", "content": rng.choice(_RECALL).format(k=key)},
        {"role": "assistant", "content": facts[key]},
    ]
    return chat(messages)


def persona(rng: random.Random) -> Example:
    """The system message says who the assistant is and how it must answer."""
    name, firm, word = person(rng), company(rng), rng.choice(lexicon.EVERYDAY)
    system, question, answer = rng.choice(
        [
            (f"You are {name} of {firm}.", "Who are you?", f"I am {name} of {firm}."),
            (f"You are {name} of {firm}.", "What is your name?", name),
            (f"You work for {firm}.", "Which company is this?", firm),
            (f"Always end with the word {word}.", rng.choice(_HELLO), f"Hello. {word}"),
            (f"Answer every question with {word}.", f"Who is {name}?", word),
            (
                f"The password is {word}. {name} may know it.",
                f"I am {name}. What is the password?",
                word,
            ),
        ]
    )
    return chat(
        [
            {"role": "system", "content": system},
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    )
