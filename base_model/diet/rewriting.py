"""Small exact tasks on lists and words: order, choice, case, joining."""

from __future__ import annotations

import json
import random

from base_model.diet import lexicon
from base_model.diet.example import Example, ask
from base_model.diet.values import KINDS, city, invented, person


def _items(rng: random.Random, least: int, most: int) -> list[str]:
    kind = rng.random()

    def draw() -> str:
        if kind < 0.4:
            return rng.choice(lexicon.EVERYDAY)
        if kind < 0.6:
            return invented(rng)
        return city(rng) if kind < 0.8 else str(rng.randint(0, 999))

    return list(dict.fromkeys(draw() for _ in range(rng.randint(least, most))))


_NTH = ("first", "second", "third", "fourth")


def lists(rng: random.Random) -> Example:
    """Reorder, pick, join, drop or replace items of a list."""
    items = _items(rng, 2, 6)
    line = rng.choice([", ", " ", "\n", " - "]).join(items)
    i = rng.randrange(min(4, len(items)))
    jobs = [
        (f"Reverse the order: {line}", ", ".join(items[::-1])),
        (f"Join with underscores: {line}", "_".join(items)),
        (f"As a JSON list: {line}", json.dumps(items)),
        (f"{line}\nWhich is the {_NTH[i]}?", items[i]),
        (f"{line}\nWhich is last?", items[-1]),
        (
            f"Leave out {items[i]}: {line}",
            ", ".join(x for x in items if x != items[i]) or "nothing",
        ),
        (f"How many? {line}", str(len(items))),
        (f"Sort by the alphabet: {line}", ", ".join(sorted(items))),
        (f"One a line: {line}", "\n".join(items)),
        (f"Put a dash before each: {line}", "\n".join("- " + x for x in items)),
        (f"Replace {items[i]} by X: {line}", ", ".join("X" if x == items[i] else x for x in items)),
        (f"What comes after {items[0]}? {line}", items[1] if len(items) > 1 else "nothing"),
    ]
    question, answer = rng.choice(jobs)
    return ask(question, answer)


def words(rng: random.Random) -> Example:
    """Case and joining of words."""
    chosen = rng.sample(lexicon.EVERYDAY, rng.randint(1, 4))
    line = " ".join(chosen)
    jobs = [
        (f"snake_case: {line}", "_".join(chosen)),
        (f"Make a label: {line}", "_".join(chosen)),
        (f"camelCase: {line}", chosen[0] + "".join(w.capitalize() for w in chosen[1:])),
        (f"kebab-case: {line}", "-".join(chosen)),
        (f"Plain words: {'_'.join(chosen)}", line),
        (f"Capital first: {line}", line.capitalize()),
        (f"Title: {line}", line.title()),
        (f"In quotes: {line}", f'"{line}"'),
        (f"Split: {'_'.join(chosen)}", ", ".join(chosen)),
    ]
    question, answer = rng.choice(jobs)
    return ask(question, answer)


def compare(rng: random.Random) -> Example:
    """Same or different, contained or not."""
    kind = rng.choice(list(KINDS))
    a, b = KINDS[kind][0](rng), KINDS[kind][0](rng)
    if rng.random() < 0.5:
        b = a
    if rng.random() < 0.5:
        return ask(f"Are these the same? {a} and {b}", "yes" if a == b else "no")
    names = [person(rng) for _ in range(rng.randint(2, 5))]
    probe = rng.choice(names) if rng.random() < 0.5 else person(rng)
    return ask(f"{', '.join(names)}\nIs {probe} in the list?", "yes" if probe in names else "no")
