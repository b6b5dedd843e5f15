"""Random values of the kinds that occur in business texts."""

from __future__ import annotations

import random
from collections.abc import Callable

from base_model.diet import lexicon
from base_model.diet.repeats import code

_FIRST = lexicon.listed("""
Anna Ben Clara David Eva Felix Greta Hugo Ida Jonas Karin Leo Maria Nils Olga Peter Rosa Simon
Tara Ulrich Vera Walter Yara Zoe Amir Bina Chen Dario Elif Farid Gita Hana Ivan Jun Kofi Lena Mei
Nadia Omar Priya Ravi Sara Tomas Uma Viktor Wen Emma Liam Noah Olivia James Lucas Mia Ella Jack
Grace Henry Alice Oscar Ruth
""")
_LAST = lexicon.listed("""
Adler Baker Cruz Diaz Evans Fischer Garcia Hansen Ito Jones Kim Lopez Meyer Novak Olsen Patel
Quinn Rossi Schmidt Tanaka Ueda Vogel Weber Xu Young Zimmer Ahmed Brown Clark Dubois Egger Ford
Green Hill Ivanov Khan Lang Moore Nagy Ortiz Park Reed Silva Taylor Usman Varga Wood Yilmaz
""")
_CITIES = lexicon.listed("""
Berlin Paris London Madrid Rome Vienna Oslo Dublin Lisbon Athens Prague Warsaw Zurich Geneva
Hamburg Munich Lyon Milan Boston Denver Austin Seattle Chicago Toronto Sydney Tokyo Osaka Delhi
Mumbai Cairo Lagos Nairobi Lima Quito Bogota Leeds
""")
_TRADE = lexicon.listed("""
Trading Logistics Foods Systems Partners Energy Textiles Motors Books Tools Labs Foundry Supply
Farms Optics
""")
_FORM = lexicon.listed("Ltd Inc GmbH AG LLC SA Co BV")
_MONTHS = lexicon.listed("""
January February March April May June July August September October November December
""")
_CURRENCIES = ("EUR", "USD", "GBP", "CHF", "JPY", "SEK")
_SIGNS = ("$", "€", "£")
_SYLLABLES = lexicon.listed("""
ba be bo da de do fa fi ga go ha ka ke ko la le li lo ma me mi mo na ne no pa pe ra re ri ro sa se
ta te ti to va vi vo za zo
""")


def invented(rng: random.Random) -> str:
    """A capitalised word that no dictionary has."""
    syllables = [rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 3))]
    return ("".join(syllables) + rng.choice(["", "n", "r", "s", "x", "l"])).capitalize()


def person(rng: random.Random) -> str:
    first = rng.choice(_FIRST) if rng.random() < 0.7 else invented(rng)
    last = rng.choice(_LAST) if rng.random() < 0.6 else invented(rng)
    return rng.choice([first, f"{first} {last}", f"{first} {last}", f"{first[0]}. {last}"])


def company(rng: random.Random) -> str:
    name = invented(rng) if rng.random() < 0.67 else rng.choice(_LAST)
    return rng.choice(
        [
            f"{name} {rng.choice(_FORM)}",
            f"{name} {rng.choice(_TRADE)}",
            f"{name} {rng.choice(_TRADE)} {rng.choice(_FORM)}",
        ]
    )


def city(rng: random.Random) -> str:
    return rng.choice(_CITIES) if rng.random() < 0.7 else invented(rng)


def number(rng: random.Random) -> str:
    return str(rng.randint(0, 10 ** rng.randint(1, 6)))


def decimal(rng: random.Random) -> str:
    return f"{rng.randint(0, 10 ** rng.randint(1, 5))}.{rng.randint(0, 99):02d}"


def amount(rng: random.Random) -> str:
    value = (
        decimal(rng)
        if rng.random() < 0.75
        else f"{rng.randint(1, 99)},{rng.randint(0, 999):03d}.{rng.randint(0, 99):02d}"
    )
    kind = rng.random()
    if kind < 0.35:
        return f"{rng.choice(_CURRENCIES)} {value}"
    if kind < 0.6:
        return f"{value} {rng.choice(_CURRENCIES)}"
    return rng.choice(_SIGNS) + value if kind < 0.85 else value


def date(rng: random.Random) -> str:
    year, month, day = rng.randint(1990, 2039), rng.randint(1, 12), rng.randint(1, 28)
    name = _MONTHS[month - 1]
    return rng.choice(
        [f"{year}-{month:02d}-{day:02d}"] * 3
        + [
            f"{day:02d}.{month:02d}.{year}",
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
            f"{month:02d}/{day:02d}/{year}",
            f"{day} {name[:3]} {year}",
        ]
    )


def clock(rng: random.Random) -> str:
    return rng.choice(
        [
            f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
            f"{rng.randint(1, 12)} {rng.choice(['am', 'pm'])}",
        ]
    )


def email(rng: random.Random) -> str:
    name = person(rng).replace(" ", ".").replace("..", ".").lower()
    return f"{name}@{invented(rng).lower()}.{rng.choice(['com', 'org', 'net', 'de', 'io'])}"


def phone(rng: random.Random) -> str:
    digits = "".join(str(rng.randint(0, 9)) for _ in range(9))
    return rng.choice(
        [f"+{digits[:2]} {digits[2:]}", f"0{digits}", f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"]
    )


def percent(rng: random.Random) -> str:
    return f"{rng.randint(0, 100)}%"


# Kind -> (generator, nouns that name such a field).
KINDS: dict[str, tuple[Callable[[random.Random], str], tuple[str, ...]]] = {
    "code": (
        code,
        (
            "number",
            "code",
            "id",
            "reference",
            "ref",
            "no",
            "serial",
            "key",
            "ticket",
            "file",
            "batch",
            "order",
            "lot",
            "case",
        ),
    ),
    "amount": (
        amount,
        (
            "amount",
            "price",
            "total",
            "cost",
            "fee",
            "sum",
            "value",
            "balance",
            "rate",
            "deposit",
            "budget",
        ),
    ),
    "date": (
        date,
        (
            "date",
            "day",
            "due",
            "start",
            "end",
            "deadline",
            "expiry",
            "issued",
            "delivery",
            "until",
            "since",
        ),
    ),
    "person": (
        person,
        (
            "name",
            "contact",
            "owner",
            "agent",
            "author",
            "customer",
            "driver",
            "manager",
            "person",
            "doctor",
            "teacher",
        ),
    ),
    "company": (
        company,
        ("company", "supplier", "vendor", "carrier", "maker", "seller", "firm", "client"),
    ),
    "city": (
        city,
        ("city", "place", "destination", "origin", "location", "branch", "port", "town"),
    ),
    "number": (
        number,
        (
            "count",
            "quantity",
            "pieces",
            "items",
            "units",
            "weight",
            "size",
            "age",
            "floor",
            "seat",
            "room",
        ),
    ),
    "decimal": (decimal, ("weight", "length", "score", "reading", "volume", "height", "level")),
    "clock": (clock, ("time", "hour", "arrival", "departure", "opening")),
    "email": (email, ("email", "mail", "address")),
    "phone": (phone, ("phone", "mobile", "telephone", "fax")),
    "percent": (percent, ("discount", "share", "tax", "rate", "progress")),
}
