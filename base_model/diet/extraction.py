"""Field extraction from texts: many layouts, many questions, answers in several notations.

No example is an invoice: the benchmarks use that domain.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from base_model.diet import lexicon
from base_model.diet.example import Example, Message, ask, chat
from base_model.diet.values import KINDS


@dataclass(frozen=True)
class Field:
    """A named place in a text: `key` as the answer writes it, `label` as the text does."""

    key: str
    label: str
    kind: str


_OWNERS = [w for w in lexicon.THINGS if w != "invoice"]


def some_fields(rng: random.Random, count: int) -> list[Field]:
    """`count` fields with different keys."""
    fields: dict[str, Field] = {}
    while len(fields) < count:
        kind = rng.choice(list(KINDS))
        words = [rng.choice(KINDS[kind][1])]
        if rng.random() < 0.5:
            words.insert(0, rng.choice(_OWNERS))
        label = " ".join(words)
        key = rng.choice(
            ["_".join(words)] * 4 + [words[0] + "".join(w.capitalize() for w in words[1:]), label]
        )
        fields.setdefault(label, Field(key, label, kind))
    return list(fields.values())


def value_of(field: Field, rng: random.Random) -> str:
    return KINDS[field.kind][0](rng)


Layout = Callable[[list[tuple[str, str]], random.Random], str]


def _lines(mark: str, bullet: str = "", between: str = "\n") -> Layout:
    return lambda pairs, rng: between.join(f"{bullet}{k}{mark}{v}" for k, v in pairs)


def _sentences(*forms: str, between: str = " ") -> Layout:
    def build(pairs: list[tuple[str, str]], rng: random.Random) -> str:
        return between.join(rng.choice(forms).format(k=k, v=v, K=k.capitalize()) for k, v in pairs)

    return build


LAYOUTS: dict[str, Layout] = {
    "lines": _lines(": "),
    "title_lines": lambda p, r: "\n".join(f"{k.title()}: {v}" for k, v in p),
    "equals": _lines("="),
    "semicolons": _lines(": ", between="; "),
    "commas": _lines(" ", between=", "),
    "bullets": _lines(": ", bullet="- "),
    "dashes": _lines(" - "),
    "upper_lines": lambda p, r: "\n".join(f"{k.upper()} {v}" for k, v in p),
    "spaced_columns": lambda p, r: "\n".join(f"{k.capitalize():<18}{v}" for k, v in p),
    "table": lambda p, r: "\n".join(f"| {k} | {v} |" for k, v in p),
    "json": lambda p, r: json.dumps(dict(p), ensure_ascii=False),
    "xml": lambda p, r: "".join(
        f"<{k.replace(' ', '_')}>{v}</{k.replace(' ', '_')}>" for k, v in p
    ),
    "says": _sentences(
        "The {k} is {v}.",
        "{K} is {v}.",
        "Our {k} was {v}.",
        "{v} is the {k}.",
        "We set the {k} to {v}.",
    ),
    "with": _sentences("with {k} {v}", "having {k} {v}", "{k} {v}", "its {k} ({v})", between=", "),
    "note": _sentences("{K} {v}.", "{K}: {v}.", "Note the {k} {v}.", "They gave {v} as the {k}."),
    "and": _sentences("{k} {v}", "a {k} of {v}", "the {k} {v}", between=" and "),
}
_OPENINGS = (
    "",
    "",
    "",
    "Hello,\n",
    "Dear team,\n",
    "Update: ",
    "Please see below.\n",
    "Here is the record. ",
    "FYI ",
    "Booked today: ",
    "Report\n",
    "New entry, ",
    "As agreed, ",
    "Re: our call\n",
)
_CLOSINGS = (
    "",
    "",
    "",
    "\nThanks",
    "\nBest regards",
    " Thank you.",
    "\n--\nsent from my phone",
    " Please confirm.",
    " That is all.",
)


class Filler:
    """Sentences without information, placed between the fields."""

    def __init__(self, sentences: list[str]) -> None:
        self._sentences = [s for s in sentences if 10 < len(s) < 70]

    def __call__(self, rng: random.Random) -> str:
        return rng.choice(self._sentences)


def document(
    pairs: list[tuple[str, str]], layout: str, frame: tuple[str, str], rng: random.Random
) -> str:
    return frame[0] + LAYOUTS[layout](pairs, rng) + frame[1]


def notation(kind: str, pairs: list[tuple[str, str]]) -> str:
    """The answer: compact JSON, spaced JSON, key=value, lines or the bare values."""
    if kind == "json":
        return json.dumps(dict(pairs), ensure_ascii=False, separators=(",", ":"))
    if kind == "spaced_json":
        return json.dumps(dict(pairs), ensure_ascii=False)
    if kind == "pairs":
        return " ".join(f"{k}={v}" for k, v in pairs)
    if kind == "lines":
        return "\n".join(f"{k}: {v}" for k, v in pairs)
    return " | ".join(v for _, v in pairs)


NOTATIONS = ("json", "json", "spaced_json", "pairs", "lines", "values")
_NOTATION_WORDS = {
    "json": "compact JSON",
    "spaced_json": "JSON",
    "pairs": "key=value",
    "lines": "lines",
    "values": "values only",
}
_ONE = (
    "What is the {k}?",
    "Find the {k}.",
    "Which {k}?",
    "Give me the {k}.",
    "{k}?",
    "Tell me the {k}, please.",
    "Extract the {k}.",
    "Return only the {k}.",
)
_SEVERAL = (
    "Extract {k} as {n}.",
    "Give {k} as {n}.",
    "Return {n} with {k}.",
    "I need {k}. Answer in {n}.",
    "{n}: {k}",
)


class Extraction:
    """Extraction tasks: fields by question, by demonstration, by kind of value."""

    def __init__(self, filler: Filler) -> None:
        self._filler = filler

    def _frame(self, rng: random.Random) -> tuple[str, str]:
        opening, closing = rng.choice(_OPENINGS), rng.choice(_CLOSINGS)
        if rng.random() < 0.3:
            opening += self._filler(rng).capitalize() + rng.choice([". ", ".\n"])
        if rng.random() < 0.2:
            closing = " " + self._filler(rng).capitalize() + "." + closing
        return opening, closing

    def asked(self, rng: random.Random) -> Example:
        """The question names the fields."""
        fields = some_fields(rng, rng.randint(1, 6))
        values = [value_of(f, rng) for f in fields]
        body = document(
            [(f.label, v) for f, v in zip(fields, values, strict=True)],
            rng.choice(list(LAYOUTS)),
            self._frame(rng),
            rng,
        )
        if rng.random() < 0.4:
            i = rng.randrange(len(fields))
            question, answer = rng.choice(_ONE).format(k=fields[i].label), values[i]
        else:
            chosen = rng.sample(range(len(fields)), rng.randint(1, min(4, len(fields))))
            kind = rng.choice(NOTATIONS)
            keys = ", ".join(fields[i].key for i in chosen)
            question = rng.choice(_SEVERAL).format(k=keys, n=_NOTATION_WORDS[kind])
            answer = notation(kind, [(fields[i].key, values[i]) for i in chosen])
        place = rng.random()
        if place < 0.4:
            return ask(body + "\n\n" + question, answer)
        if place < 0.7:
            return ask(question + "\n" + body, answer)
        return ask(body, answer, system=question)

    def shown(self, rng: random.Random) -> Example:
        """No instruction: earlier turns demonstrate the task, the last turn repeats it."""
        fields = some_fields(rng, rng.randint(2, 4))
        layout, frame, kind = rng.choice(list(LAYOUTS)), self._frame(rng), rng.choice(NOTATIONS)
        chosen = rng.sample(range(len(fields)), rng.randint(1, min(3, len(fields))))
        messages: list[Message] = []
        for turn in range(rng.randint(2, 3)):
            values = [value_of(f, rng) for f in fields]
            body = document(
                [(f.label, v) for f, v in zip(fields, values, strict=True)], layout, frame, rng
            )
            answer = notation(kind, [(fields[i].key, values[i]) for i in chosen])
            # The first turn's task is unknown, but its values can be copied.
            messages += [
                {"role": "user", "content": body},
                {"role": "assistant", "content": answer, "weight": 0.3 if turn == 0 else 1.0},
            ]
        return chat(messages)


_TYPED = {
    "date": (("by {v}", "on {v}", "until {v}", "from {v}", "before {v}"), "date"),
    "amount": (("for {v}", "at {v}", "worth {v}", "costing {v}", "of {v}"), "amount"),
    "person": (("to {v}", "with {v}", "from {v}", "by {v}", "for {v}"), "person"),
    "city": (("in {v}", "to {v}", "from {v}", "near {v}", "at {v}"), "city"),
    "code": (("ref {v}", "no. {v}", "({v})", "order {v}", "under {v}", "#{v}"), "code"),
    "email": (("via {v}", "at {v}", "mail {v}"), "email"),
    "clock": (("at {v}", "around {v}", "by {v}"), "time"),
    "phone": (("call {v}", "tel {v}", "phone {v}"), "phone"),
    "company": (("for {v}", "with {v}", "from {v}", "by {v}"), "company"),
    "percent": (("at {v}", "with {v} off", "up {v}"), "percent"),
}
_ACTIONS = (
    "please deliver the {n}",
    "we ordered a {n}",
    "the {n} was sent",
    "I booked a {n}",
    "they repaired our {n}",
    "the {n} leaves",
    "we need the {n}",
    "a {n} was returned",
    "she sold the {n}",
    "your {n} is ready",
    "we will pick up the {n}",
    "he rented a {n}",
)


def typed(rng: random.Random) -> Example:
    """The text names no field; the value's form and preposition identify it."""
    kinds = rng.sample(list(_TYPED), rng.randint(2, 4))
    values = {k: KINDS[k][0](rng) for k in kinds}
    parts = [rng.choice(_TYPED[k][0]).format(v=values[k]) for k in kinds]
    sentence = (
        rng.choice(_ACTIONS).format(n=rng.choice(_OWNERS))
        + " "
        + rng.choice([" ", ", "]).join(parts)
    )
    sentence = (
        sentence[0].upper() + sentence[1:] if rng.random() < 0.7 else sentence
    ) + rng.choice([".", "", " please."])
    chosen = rng.sample(kinds, rng.randint(1, len(kinds)))
    kind = rng.choice(NOTATIONS)
    answer = notation(kind, [(_TYPED[k][1], values[k]) for k in chosen])
    question = rng.choice(_SEVERAL).format(
        k=", ".join(_TYPED[k][1] for k in chosen), n=_NOTATION_WORDS[kind]
    )
    return (
        ask(sentence, answer, system=question)
        if rng.random() < 0.5
        else ask(f"{question}\n{sentence}", answer)
    )
