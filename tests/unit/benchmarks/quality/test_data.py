"""No side of adapter_quality's examples says what another says."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest

from benchmarks.quality import data, invoices, names, opinions, requests, sides
from settings import REPOSITORY

Sided = dict[str, list[str]]
TEMPLATES: dict[str, Sided] = {
    "numbers": invoices.NUMBERS,
    "amounts": invoices.AMOUNTS,
    "dues": invoices.DUES,
    "opinions": opinions.OPINIONS,
    **requests.REQUESTS,
}
WORDS: dict[str, Sided] = {
    "companies": names.COMPANIES,
    "leads": requests.LEADS,
    "cities": names.CITIES,
    "first names": names.FIRST,
    "last names": names.LAST,
    "hosts": names.HOSTS,
    "praise": opinions.PRAISE,
    "blame": opinions.BLAME,
    "things": opinions.THINGS,
}
PAIRS = list(combinations(sides.SIDES, 2))
RUN = 3  # words


def runs(template: str) -> set[tuple[str, ...]]:
    """All runs of words between two placeholders."""
    found = set()
    for part in re.split(r"\{\w+\}", template.lower()):
        words = re.findall(r"[a-z']+", part)
        found |= {tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}
    return found


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("pair", PAIRS)
def test_templates_share_no_three_words_in_a_row(kind: str, pair: tuple[str, str]) -> None:
    one, other = (TEMPLATES[kind][side] for side in pair)
    assert not set(one) & set(other)
    for template in one:
        for rival in other:
            assert not runs(template) & runs(rival), (template, rival)


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("pair", PAIRS)
def test_no_word_is_on_two_sides(kind: str, pair: tuple[str, str]) -> None:
    one, other = (WORDS[kind][side] for side in pair)
    assert not set(one) & set(other)


def test_no_name_is_on_two_sides_whatever_it_names() -> None:
    everything = [names.CITIES, names.FIRST, names.LAST, names.HOSTS, names.COMPANIES]
    by_side = [
        {word for sided in everything for entry in sided[side] for word in entry.split()} - {"&"}
        for side in sides.SIDES
    ]
    for one, other in combinations(by_side, 2):
        assert not one & other


def test_nobody_praises_and_blames_with_one_word() -> None:
    praise = {word for words in opinions.PRAISE.values() for word in words}
    blame = {word for words in opinions.BLAME.values() for word in words}
    assert not praise & blame


def values_of(line: dict[str, Any]) -> set[str]:
    """Codes, amounts, dates and addresses of an example."""
    return set(re.findall(r"[\w./@-]*\d[\w./@-]*|[\w.]+@[\w.]+", line["input"]))


@pytest.mark.parametrize("task", ["sentiment", "invoices", "tools"])
@pytest.mark.parametrize("pair", PAIRS)
def test_no_value_is_on_two_sides(task: str, pair: tuple[str, str]) -> None:
    one, other = (data.examples(task, side, 300) for side in pair)
    values, rivals = (set().union(*map(values_of, lines)) for lines in (one, other))
    assert values
    assert not values & rivals
    assert not {line["input"] for line in one} & {line["input"] for line in other}


def test_swapped_examples_differ_in_the_label_alone() -> None:
    straight, swapped = (data.examples(task, sides.TRAIN, 50) for task in ("sentiment", "swapped"))
    for one, other in zip(straight, swapped, strict=True):
        assert one["input"] == other["input"]
        assert {one["output"], other["output"]} == set(data.LABELS)


def test_templates_are_no_frames_of_the_base() -> None:
    """The base was not pretrained on invoices, nor on the frames asked here."""
    diet = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (REPOSITORY / "base_model" / "diet").glob("*.py")
        if path.name not in ("lexicon.py", "values.py")
    ).lower()
    for sided in TEMPLATES.values():
        for template in sided[sides.HELD_OUT]:
            assert not [run for run in runs(template) if " ".join(run) in diet], template
