"""Personal data: what is flagged, and what only looks like it."""

from __future__ import annotations

import pytest

from helox.pii import kinds_in


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Write to jo.do+x@mail.example.co.uk, please", {"email"}),
        ("Call +49 30 901820 or later", {"phone"}),
        ("Call (030) 9018-2012", {"phone"}),
        ("Tel. 0049 30 901820", {"phone"}),
        ("call 415-555-2671", {"phone"}),
        ("card 4111 1111 1111 1111 please", {"card"}),
        ("card 378282246310005", {"card"}),
        ("to DE89 3704 0044 0532 0130 00 at once", {"iban"}),
        ("to GB82WEST12345698765432.", {"iban"}),
        ("jo@example.com, +1 415 555 2671", {"email", "phone"}),
    ],
)
def test_flagged(text: str, kinds: set[str]) -> None:
    assert set(kinds_in(text)) == kinds


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",  # Luhn's sum is wrong
        "DE89 3704 0044 0532 0130 01",  # so is the checksum
        "order 20260131 of 2026-01-31 at 12:30",
        "invoice 1234567890, 3,400.50 EUR",
        "version 10.20.30.40 of a@b",
        "0000 0000 0000 0000",
        "the sum of 1 2 3 4 5 6 7 8 9 10 11 12 13",
        "",
    ],
)
def test_not_flagged(text: str) -> None:
    assert set(kinds_in(text)) == set()
