"""Label tasks: by meaning, by demonstration, and with swapped labels."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from base_model.diet import lexicon
from base_model.diet.example import Example, Message, ask, chat
from base_model.diet.opinions import opinion
from base_model.wordnet import Synset

_STOP = set(
    lexicon.listed("""
a an the of to in on at for from by with and or but is was are were be been being has have had do
does did will would can could should may might must this that these those it its he she they we
you i his her their our your my me him them us as not no so if than then there here all some any
one very just into out up down over under about after before when who whom which what
""")
)


def label_words(rng: random.Random, count: int) -> list[str]:
    """Different labels in snake_case of one to three natural words."""
    out: set[str] = set()
    while len(out) < count:
        out.add("_".join(rng.sample(lexicon.EVERYDAY, rng.randint(1, 3))))
    return sorted(out, key=lambda _: rng.random())


def content_words(sentence: str) -> list[str]:
    return [w for w in re.findall(r"[a-z]{3,}", sentence.lower()) if w not in _STOP]


class Classification:
    """Label tasks on WordNet's sentences and words."""

    def __init__(self, synsets: list[Synset]) -> None:
        self._sentences = [
            (s, e)
            for s in synsets
            for e in s.examples
            if 12 < len(e) < 90 and len(content_words(e)) >= 2
        ]
        self._topics: dict[str, list[Synset]] = {}
        for synset in synsets:
            if synset.topic:
                self._topics.setdefault(synset.topic, []).append(synset)
        self._near = [(s, e) for s, e in self._sentences if len(s.words) > 1]

    def _draws(self, rng: random.Random) -> list[Callable[[random.Random], str]]:
        """The classes of one example: a generator of inputs for each."""
        if rng.random() < 0.55:
            return [lambda r: opinion(True, r), lambda r: opinion(False, r)]
        names = rng.sample(list(self._topics), rng.randint(2, 4))

        def member(name: str) -> Callable[[random.Random], str]:
            def draw(r: random.Random) -> str:
                synset = r.choice(self._topics[name])
                return r.choice(
                    [synset.words[0], synset.definition, f"{synset.words[0]}: {synset.definition}"]
                )[:120]

            return draw

        return [member(n) for n in names]

    def shown(self, rng: random.Random) -> Example:
        """Demonstrations with arbitrary labels, one a turn; later turns must follow the earlier."""
        draws = self._draws(rng)
        labels = label_words(rng, len(draws))
        order = [rng.randrange(len(draws)) for _ in range(rng.randint(4, 10))]
        seen: set[int] = set()
        messages: list[Message] = []
        if rng.random() < 0.5:
            messages.append(
                {
                    "role": "system",
                    "content": rng.choice(
                        ["Labels: {}", "Choose one of {}.", "Classify as {}"]
                    ).format(", ".join(labels)),
                }
            )
        for i in order:
            # The first label of a class can only be guessed; later ones follow from it.
            weight = 1.0 if i in seen else 0.0
            seen.add(i)
            messages += [
                {"role": "user", "content": draws[i](rng)},
                {"role": "assistant", "content": labels[i], "weight": weight},
            ]
        return chat(messages)

    def told(self, rng: random.Random) -> Example:
        """The instruction maps opinions to labels, often against the labels' meaning."""
        kind = rng.random()
        positive = rng.random() < 0.5
        if kind < 0.35:
            labels = ["positive", "negative"]
        elif kind < 0.6:
            labels = ["negative", "positive"]
        else:
            labels = label_words(rng, 2)
        rule = rng.choice(
            [
                "Good is {0}, bad is {1}.",
                "Praise means {0}; complaints mean {1}.",
                "Answer {0} when the writer is happy and {1} when not.",
                "If it is nice say {0}, else say {1}.",
                "{1} stands for bad, {0} for good.",
            ]
        ).format(*labels)
        return ask(opinion(positive, rng), labels[0 if positive else 1], system=rule)

    def kinds(self, rng: random.Random) -> Example:
        """Which broad class a noun belongs to, chosen from a list."""
        names = rng.sample(list(self._topics), rng.randint(2, 6))
        synset = rng.choice(self._topics[names[0]])
        what = rng.choice([synset.words[0], synset.definition, synset.words[0]])
        options = ", ".join(sorted(names))
        form = rng.choice(
            [
                "{w}\nWhich kind: {o}?",
                "Choose from {o}: {w}",
                'Is "{w}" one of {o}?',
                "Kinds: {o}\n{w}",
            ]
        )
        return ask(form.format(w=what, o=options), names[0])

    def keyword_label(self, rng: random.Random) -> Example:
        """A sentence becomes a snake_case label of its own content words."""
        _, sentence = rng.choice(self._sentences)
        words = content_words(sentence)
        count = min(len(words), rng.randint(1, 4))
        form = rng.choice(
            [
                "Label of {c} words: {s}",
                "{s}\nMake a label of {c} words.",
                "Name this in snake_case, {c} words: {s}",
            ]
        )
        return ask(form.format(c=count, s=sentence), "_".join(words[:count]))

    def best_label(self, rng: random.Random) -> Example:
        """Several labels, one of which shares a word, a synonym or a kind with the sentence."""
        count = rng.randint(2, 6)
        picked = rng.sample(self._near, count)
        labels = []
        for synset, sentence in picked:
            own = content_words(sentence)
            # Half of the time only a synonym points to the right label.
            hint = (
                rng.choice(synset.words).replace(" ", "_")
                if rng.random() < 0.6
                else rng.choice(own)
            )
            extra = rng.choice(own)
            labels.append("_".join(dict.fromkeys([hint, extra] if rng.random() < 0.5 else [hint])))
        if len(set(labels)) < count:
            return self.best_label(rng)
        shown = sorted(labels)
        form = rng.choice(["Labels: {o}\n{s}", "{s}\nWhich label? {o}", "Pick one of {o} for: {s}"])
        return ask(form.format(o=", ".join(shown), s=picked[0][1]), labels[0])
