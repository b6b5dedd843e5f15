"""Examples in three splits ("sides") that share no opinion, name, value or template.

`examples(task, side, count)` gives the lines of one side, from fixed seeds. All sides share the
domain, so function words, words of the trade ("invoice", "parcel"), punctuation and, in answers,
labels, field names and tool names occur on all of them; no three consecutive words of a template
do. Opinion words are known to the base model: nothing else could tell the sentiment of a word that
is not in the training lines.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from typing import Any

from benchmarks.quality import invoices as invoices
from benchmarks.quality import names as names
from benchmarks.quality import opinions as opinions
from benchmarks.quality import requests as requests
from benchmarks.quality.sides import SIDES

Line = dict[str, str]
LABELS = ("positive", "negative")
# Tool -> the names of its arguments.
TOOLS = {
    "track_parcel": ("parcel",),
    "issue_refund": ("customer", "euros"),
    "schedule_visit": ("city", "date"),
    "update_contact": ("name", "email"),
    "reserve_stock": ("site", "quantity"),
}


def _number(side: str, low: int, high: int, rng: random.Random) -> int:
    """A number from `low` to below `high`; its remainder by three is the side's own."""
    return rng.choice([n for n in range(low, high) if n % len(SIDES) == SIDES.index(side)])


def _prefix(side: str, rng: random.Random) -> str:
    """One to three capital letters and a mark; no prefix is on two sides."""
    while True:
        letters = rng.choices(string.ascii_uppercase, k=rng.randint(1, 3))
        if sum(map(ord, letters)) % len(SIDES) == SIDES.index(side):
            return "".join(letters) + rng.choice(("-", "/", ""))


def _digits(side: str, count: int, rng: random.Random) -> str:
    number = rng.randrange(10**count // len(SIDES)) * len(SIDES) + SIDES.index(side)
    return f"{number:0{count}d}"


def _date(side: str, rng: random.Random) -> str:
    day = _number(side, 1, 28, rng)
    return f"{rng.randint(2020, 2034)}-{rng.randint(1, 12):02d}-{day:02d}"


def _compact(**values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _opinion(side: str, rng: random.Random) -> Line:
    positive = rng.random() < 0.5
    a, b, c = rng.sample((opinions.PRAISE if positive else opinions.BLAME)[side], 3)
    thing, thing2 = rng.sample(opinions.THINGS[side], 2)
    number = _number(side, 100, 999, rng)
    text = rng.choice(opinions.OPINIONS[side]).format(
        a=a, b=b, c=c, thing=thing, thing2=thing2, no=number
    )
    return {"input": text, "output": LABELS[0] if positive else LABELS[1]}


def _swapped(side: str, rng: random.Random) -> Line:
    line = _opinion(side, rng)
    return {**line, "output": LABELS[line["output"] == LABELS[0]]}


def _invoice(side: str, rng: random.Random) -> Line:
    number = _prefix(side, rng) + _digits(side, rng.randint(4, 7), rng)
    amount = f"{rng.randint(1, 20000)}.{_digits(side, 2, rng)}"
    due = _date(side, rng)
    parts = [
        rng.choice(invoices.NUMBERS[side]).format(number=number),
        rng.choice(invoices.AMOUNTS[side]).format(amount=amount),
        rng.choice(invoices.DUES[side]).format(due=due),
    ]
    rng.shuffle(parts)
    letterhead = rng.choice(names.COMPANIES[side])
    text = f"{letterhead}\n{rng.choice(invoices.SEPARATORS).join(parts)}"
    return {"input": text, "output": _compact(number=number, amount=amount, due_date=due)}


def _call(side: str, rng: random.Random) -> Line:
    first, last = rng.choice(names.FIRST[side]), rng.choice(names.LAST[side])
    values = {
        "parcel": _prefix(side, rng) + _digits(side, 6, rng),
        "customer": _prefix(side, rng) + _digits(side, 5, rng),
        "euros": str(_number(side, 2, 990, rng)),
        "city": rng.choice(names.CITIES[side]),
        "site": rng.choice(names.CITIES[side]),
        "date": _date(side, rng),
        "name": f"{first} {last}",
        "email": f"{first[0]}.{last}@{rng.choice(names.HOSTS[side])}",
        "quantity": str(_number(side, 2, 990, rng)),
    }
    tool = rng.choice(list(TOOLS))
    request = rng.choice(requests.REQUESTS[tool][side]).format(**values)
    arguments = {name: values[name] for name in TOOLS[tool]}
    text = rng.choice(requests.LEADS[side]) + request
    return {"input": text, "output": _compact(tool=tool, arguments=arguments)}


TASKS: dict[str, Callable[[str, random.Random], Line]] = {
    "sentiment": _opinion,
    "swapped": _swapped,
    "invoices": _invoice,
    "tools": _call,
}


def examples(task: str, side: str, count: int) -> list[Line]:
    """`count` distinct lines; those of "sentiment" and "swapped" differ in the label alone."""
    subject = "sentiment" if task == "swapped" else task
    rng = random.Random(f"{subject} {side}")
    found: dict[str, Line] = {}
    while len(found) < count:
        line = TASKS[task](side, rng)
        found.setdefault(line["input"], line)
    return list(found.values())
