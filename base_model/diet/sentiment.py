"""Sentiment of opinions."""

from __future__ import annotations

import random

from base_model.diet import lexicon
from base_model.diet.example import Example, Message, chat
from base_model.diet.opinions import opinion

_QUESTIONS = {
    ("positive", "negative"): (
        "Positive or negative? {s}",
        "{s}\nSentiment?",
        "Is this positive or negative: {s}",
        "Sentiment: {s}",
    ),
    ("good", "bad"): (
        "Good or bad? {s}",
        "{s}\nIs that good or bad?",
        "Good news or bad news: {s}",
    ),
    ("happy", "unhappy"): (
        "Happy or unhappy? {s}",
        "{s}\nHow does the writer feel?",
        "The mood of: {s}",
    ),
    ("praise", "complaint"): (
        "Praise or complaint? {s}",
        "{s}\nPraise or complaint?",
        "What kind of feedback is this? {s}",
    ),
    ("yes", "no"): (
        "Did they like it? {s}",
        "{s}\nIs the customer satisfied?",
        "Would they come again? {s}",
    ),
    ("like", "dislike"): ("Like or dislike? {s}", "{s}\nLike or dislike?"),
}


_THANKS = (
    "Thank you for the kind words.",
    "Thanks, we are glad to hear it.",
    "Thank you, that makes us happy.",
    "We are glad that you liked it.",
)
_REGRETS = (
    "We are sorry to hear that.",
    "Sorry, we will do better.",
    "We apologize for the trouble.",
    "Sorry that it did not go well.",
)
# The label is one or two tokens, and the only learned part of the example.
_SIDE_WEIGHT = 2.0


def mood(rng: random.Random) -> Example:
    """The sentiment of an opinion or a word: as a label, or as an answer with thanks or regret."""
    positive = rng.random() < 0.5
    side = 0 if positive else 1
    said = opinion(positive, rng)
    if rng.random() < 0.25:
        said = rng.choice(lexicon.PRAISE if positive else lexicon.BLAME)
    words = rng.choice(list(_QUESTIONS))
    question, answer = rng.choice(_QUESTIONS[words]), words[side]
    kind = rng.random()
    messages: list[Message] = []
    if kind < 0.4:
        said = question.format(s=said)
    elif kind < 0.65:
        messages = [{"role": "system", "content": question.format(s="").strip(": \n")}]
    else:
        answer = rng.choice((_THANKS, _REGRETS)[side])
    turns: list[Message] = [{"role": "user", "content": said}]
    turns.append({"role": "assistant", "content": answer, "weight": _SIDE_WEIGHT})
    return chat([*messages, *turns])
