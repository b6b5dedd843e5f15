"""Opinions: short judgements with words of one sentiment only."""

from __future__ import annotations

import random

from base_model.diet import lexicon

_PRAISE_LINES = (
    "I love this {n}",
    "we loved every minute",
    "will come back soon",
    "worth every penny",
    "I would buy the {n} again",
    "ten out of ten",
    "five stars for the {n}",
    "exactly what I hoped for",
    "better than expected",
    "it works like a charm",
    "I recommend the {n} to everyone",
    "made my day",
    "thank you so much",
    "could not be happier",
    "the {n} exceeded my hopes",
    "my kids adore the {n}",
    "I enjoyed the {n} a lot",
    "they went out of their way for us",
    "no complaints at all",
    "we had so much fun",
    "I am impressed by the {n}",
    "the {n} saved us",
    "a joy from start to end",
    "well done",
)
_BLAME_LINES = (
    "I hate this {n}",
    "we regretted every minute",
    "never again",
    "a waste of money",
    "I want my money back",
    "zero out of ten",
    "one star for the {n}",
    "not what was promised",
    "worse than expected",
    "it stopped working at once",
    "I warn everyone of the {n}",
    "ruined my day",
    "nobody helped us",
    "could not be angrier",
    "the {n} let me down",
    "my kids could not stand the {n}",
    "I suffered through the {n}",
    "they ignored us for an hour",
    "nothing but complaints",
    "we had no fun",
    "I am fed up with the {n}",
    "the {n} cost us hours",
    "a pain from start to end",
    "shame on you",
)
_THINGS = lexicon.listed("""
film book meal room hotel service staff phone song game show trip tour course soup pizza coffee
laptop camera jacket car bike play concert museum beach garden lesson teacher driver doctor waiter
cake salad bed lamp chair watch printer story novel app website delivery flight train ride seat
view food drink team visit stay party talk place product shop manager dinner breakfast guide host
price quality music screen battery sound design support office pool bar bathroom shower bread wine
tea plot actor
""")
_MORE_THINGS = [w for w in lexicon.THINGS if w not in {*lexicon.PRAISE, *lexicon.BLAME}]
_SIDED = {*lexicon.PRAISE, *lexicon.BLAME}
_NEUTRAL = [w for w in lexicon.EVERYDAY if w not in _SIDED]
_OPINIONS = (
    "The {n} was {a}.",
    "What a {a} {n}!",
    "I found the {n} {a}.",
    "{a} {n}",
    "A really {a} {n}.",
    "This {n} is so {a}",
    "Such a {a} {n}.",
    "My {n} turned out {a}.",
    "We had a {a} {n} there.",
    "The {n} seemed {a} and {b}.",
    "It was a {a} and {b} {n}.",
    "Honestly, {a}.",
    "{a}, {b}, just {a}",
    "The {n}? {a}!",
    "Their {n} felt {a} to me.",
    "so {a}",
    "I call this {n} {a}",
    "The {n} looked {b} and the {m} was {a}.",
    "{a}",
    "very {a} {n}",
    "{n} {a}, {m} {b}",
    "{l}",
    "{l}.",
    "The {n} was {a}, {l}.",
    "{l}, the {m} is {a}",
    "{l}! Such {a} {n} and {b} {m}.",
)


_LEADS = lexicon.listed("""
overall honestly well yesterday today again clearly frankly truly update look okay so still
""")
_LEAD_PHRASES = (
    "to be fair",
    "after two weeks",
    "in my view",
    "at first sight",
    "on the whole",
    "for this price",
    "as a family",
    "if you ask me",
    "compared with last year",
    "from the first day",
    "on our second visit",
    "by the end",
)
_SPEAKERS = (
    "I",
    "we",
    "everyone",
    "my wife",
    "our guests",
    "the children",
    "people",
    "my friends",
    "both of us",
    "my boss",
    "they",
    "most visitors",
    "the whole group",
    "my neighbour",
    "a colleague",
    "the critics",
    "everybody here",
)
_SAID = (
    "found the {n} {a}",
    "called the {n} {a}",
    "said the {n} was {a}",
    "thought the {n} was {a}",
    "would call the {n} {a}",
    "got a {a} {n}",
    "had a {a} {n}",
    "talked about the {a} {n}",
    "saw how {a} the {n} is",
    "expected a {a} {n} and got it",
    "describe the {n} as {a}",
    "told us that the {n} is {a}",
    "keep saying how {a} the {n} was",
    "felt {a} about the {n}",
    "consider the {n} {a} and {b}",
    "left with a {a} {n}",
    "remember a {a} {n} and a {b} {m}",
)
_TAILS = (
    "this time",
    "for the money",
    "as always",
    "after all",
    "and that says it all",
    "once more",
    "from start to finish",
    "in every way",
    "that evening",
    "all week",
    "and so was the {m}",
    "like the {m}",
)


def _told_by_someone(rng: random.Random) -> str:
    """A sentence frame assembled from parts, so that no word order can be memorised."""
    line = f"{rng.choice(_SPEAKERS)} {rng.choice(_SAID)}"
    if rng.random() < 0.4:
        lead = rng.choice([*_LEADS, *_LEAD_PHRASES])
        line = f"{lead}{rng.choice([',', ':', ''])} {line}"
    if rng.random() < 0.4:
        line += rng.choice([" ", ", "]) + rng.choice(_TAILS)
    return line + rng.choice(["", ".", "!"])


_COPULAS = [
    *lexicon.listed("is was are were seems seemed looks looked feels felt tastes sounded remains"),
    *lexicon.listed("remained stayed became gets got proved"),
    "has been",
    "had been",
    "will be",
    "would be",
    "turned out",
    "must be",
    "may have been",
    "used to be",
    "ended up",
    "was once more",
]


_SUBJECTS = (
    "the {n}",
    "your {n}",
    "this {n}",
    "the {n} here",
    "our {n}",
    "{n}",
    "it",
    "the {n} and the {m}",
    "{n} no. {m}",
)


def _plain_statement(rng: random.Random) -> str:
    degree = rng.choice(["", "", "so ", "very ", "quite ", "rather "])
    line = f"{rng.choice(_SUBJECTS)} {rng.choice(_COPULAS)} {degree}{{a}}"
    if rng.random() < 0.3:
        line = f"{rng.choice(_LEAD_PHRASES)}, {line}"
    return line + rng.choice(["", "", ".", "!", " and {b}", ", {b}", " again.", ", {m} included"])


def _neutral_words(rng: random.Random) -> str:
    """A run of words without sentiment."""
    return " ".join(rng.choice(_NEUTRAL) for _ in range(rng.randint(1, 5)))


def opinion(positive: bool, rng: random.Random) -> str:
    """A short judgement with words of one sentiment only."""
    a, b = rng.sample(lexicon.PRAISE if positive else lexicon.BLAME, 2)
    n, m = rng.sample(_THINGS if rng.random() < 0.5 else _MORE_THINGS, 2)
    said = rng.choice(_PRAISE_LINES if positive else _BLAME_LINES).format(n=n)
    kind = rng.random()
    if kind < 0.3:
        frame = rng.choice(_OPINIONS)
    else:
        frame = _told_by_someone(rng) if kind < 0.6 else _plain_statement(rng)
    line = frame.format(a=a, b=b, n=n, m=m, l=said)
    if rng.random() < 0.25:
        # The surrounding words must have no sentiment.
        noise = _neutral_words(rng)
        line = rng.choice(
            [f"{noise}: {line}", f"{noise} {line}", f"{line} {noise}", f"{noise}. {line}"]
        )
    return line[0].upper() + line[1:] if rng.random() < 0.7 else line
