"""Personal data in rows: e-mail addresses, telephone numbers, cards and bank accounts.

Only flagged: where they stand is said, what they are is not, and nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_LINES = 100
MAX_LOOKED_AT = 100_000  # characters of a row

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
# With a country's code, or in groups as people write them; a bare row of digits may be anything.
PHONE = re.compile(
    r"(?<![\w.,/-])(?:\+\d{1,3}[ ./-]?(?:\(0?\d{1,4}\)[ ./-]?)?\d(?:[ ./-]?\d){5,12}"
    r"|\(0?\d{2,4}\)[ ./-]?\d{3,4}(?:[ ./-]\d{2,5}){1,3}"
    r"|00\d{2}[ ./-]?\d(?:[ ./-]?\d){6,11}"
    r"|0\d{2,4}[ /-]\d{3,4}(?:[ -]?\d{2,4}){1,2}"
    r"|\d{3}[.-]\d{3}[.-]\d{4})(?![\w/-]|[.,]\d)"
)
CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)")
IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)")
CARD_STARTS = "23456"  # of the schemes that cards belong to
SHORTEST_IBAN = 15
LONGEST_IBAN = 34


@dataclass
class PersonalData:
    """Rows by kind."""

    rows: dict[str, int] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)

    def add(self, line: int, text: str) -> None:
        for kind in sorted(set(kinds_in(text[:MAX_LOOKED_AT]))):
            self.rows[kind] = self.rows.get(kind, 0) + 1
            lines = self.lines.setdefault(kind, [])
            if len(lines) < MAX_LINES:
                lines.append(line)

    def to_json(self) -> dict[str, Any]:
        return {
            kind: {"rows": count, "lines": self.lines[kind]}
            for kind, count in sorted(self.rows.items())
        }


def kinds_in(text: str) -> Iterator[str]:
    """email, iban, card, phone."""
    if "@" in text and EMAIL.search(text):
        yield "email"
    if not any(character.isdigit() for character in text):
        return
    for found in IBAN.finditer(text):
        if _is_iban(found[0]):
            yield "iban"
        text = text.replace(found[0], " ")  # nor is it a card
    for found in CARD.finditer(text):
        if _is_card(found[0]):
            yield "card"
        text = text.replace(found[0], " ")
    if PHONE.search(text):
        yield "phone"


def _is_card(text: str) -> bool:
    """Luhn's sum, over the digits from the right: every second one doubled."""
    digits = [int(character) for character in text if character.isdigit()]
    if str(digits[0]) not in CARD_STARTS or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 13616: the country and check digits moved behind, letters as numbers, 1 modulo 97.

    A word behind the number may look like its last group: shorter beginnings are tried too.
    """
    groups = text.split(" ")
    for count in range(len(groups), 0, -1):
        number = "".join(groups[:count])
        if not SHORTEST_IBAN <= len(number) <= LONGEST_IBAN:
            continue
        digits = "".join(str(int(character, 36)) for character in number[4:] + number[:4])
        if int(digits) % 97 == 1:
            return True
    return False
