"""The whole report on a dataset, and its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helox.base import Base
from helox.cli import main
from helox.page import page_of
from helox.spec import TrainingConfig
from helox.survey import histogram, survey, survey_file

ROWS: list[dict[str, Any]] = [
    *(
        {"input": f"Where is the order with the number {n}?", "output": "delivery"}
        for n in range(20)
    ),
    *({"input": f"Please send the invoice for {n} again!", "output": "invoice"} for n in range(20)),
]
CONFIG = TrainingConfig(max_length=64, num_epochs=2)


def report_of(*rows: dict[str, Any], base: Path | None = None) -> dict[str, Any]:
    numbered = enumerate([*ROWS, *rows], start=1)
    return survey(numbered, Base.open(base) if base else None, CONFIG)


def test_good_data_is_good(tiny_base: Path) -> None:
    report = report_of(base=tiny_base)
    assert report["ok"] and report["counts"]["forms"] == {"input+output": 40}
    assert report["counts"]["cut"] == report["counts"]["dropped"] == 0
    assert report["counts"]["trained"] + report["counts"]["held_out"] == 40
    assert sum(found["rows"] for found in report["histogram"]) == 40
    assert report["labels"] == [
        {"label": "delivery", "count": 20},
        {"label": "invoice", "count": 20},
    ]
    assert report["estimate"]["tokens"] > 0 and report["estimate"]["memory_bytes"] > 0
    assert report["base_model"]["layers"]["q_proj"] == 2
    assert report["personal_data"] == {} and report["problems"] == []


def test_rows_are_cut_and_dropped_by_their_tokens(tiny_base: Path) -> None:
    report = report_of(
        {"input": "x", "output": "y" * 90}, {"input": "x" * 90, "output": "y"}, base=tiny_base
    )
    assert (report["counts"]["cut"], report["counts"]["dropped"]) == (2, 1)
    assert report["truncated"] == [41, 42] and report["fully_masked"] == [42]


def test_without_a_base_there_are_no_figures_of_tokens() -> None:
    report = report_of()
    assert report["histogram"] is None and report["estimate"] is None
    assert report["counts"]["cut"] is None and report["counts"]["held_out"] is None


def test_duplicates_contradictions_and_what_is_almost_the_same() -> None:
    report = report_of(
        {**ROWS[0]},
        {**ROWS[1], "output": "invoice"},
        {"prompt": "please send the invoice for 7 again", "completion": "invoice"},
        {"input": {"b": 1, "a": 2}, "output": {"x": 1, "y": 2}},
        {"input": {"a": 2, "b": 1}, "output": {"y": 2, "x": 1}},
    )
    assert report["duplicate_lines"] == [41, 45]
    assert report["contradiction_pairs"] == [
        {
            "lines": [2, 42],
            "question": ROWS[1]["input"],
            "answers": ["delivery", "invoice"],
        }
    ]
    assert {"lines": [28, 43], "similarity": 1.0} in [
        {key: pair[key] for key in ("lines", "similarity")}
        for pair in report["near_duplicates"]["pairs"]
    ]


def test_a_near_duplicate_across_the_split_is_a_leak(tiny_base: Path) -> None:
    long = "the quick brown fox jumps over the lazy dog and then it sleeps "
    rows = [{"input": f"{long}{n}", "output": "x"} for n in range(60)]
    report = survey(
        enumerate(rows, start=1),
        Base.open(tiny_base),
        TrainingConfig(max_length=256, holdout_fraction=0.3),
    )
    assert report["leakage"]["rows"] > 0
    assert all(pair["across_the_split"] for pair in report["leakage"]["pairs"])


def test_labels_that_are_spelled_in_two_ways() -> None:
    report = report_of(
        {"input": "a", "output": " invoice\n"},
        {"input": "b", "output": "in\u200bvoice"},
        {"input": "c", "output": "e\u0301te\u0301"},
        {"input": "d", "output": "\u00e9t\u00e9"},
    )
    assert report["label_variants"] == [
        {"invoice": 20, " invoice\n": 1, "in\u200bvoice": 1},
        {"e\u0301te\u0301": 1, "\u00e9t\u00e9": 1},
    ]
    assert any("differ by white space" in hint for hint in report["hints"])


def test_control_tokens_are_taken_out_of_answers_and_said(tiny_base: Path) -> None:
    report = report_of(
        {"input": "a", "output": "blue<|end|>"},
        {"input": "b", "output": "this one</s>"},
        {"input": "c <|user|>", "output": "<s>old</s>"},
        {"input": "d", "output": "<|assistant|>x"},
        base=tiny_base,
    )
    found = report["control_tokens"]
    assert {token: rows["lines"] for token, rows in found["stripped"].items()} == {
        "<|end|>": [41],
        "</s>": [42],
        "<|assistant|>": [44],
    }
    assert found["shown_as_text"]["<|user|>"]["lines"] == [43]


def test_an_answer_of_control_tokens_alone_is_a_bad_row(tiny_base: Path) -> None:
    report = report_of({"input": "a", "output": " <|end|>"}, base=tiny_base)
    assert report["problems"] == [
        {"line": 41, "field": "output", "message": "holds nothing but control tokens"}
    ]


def test_openais_old_separators_are_hinted_at() -> None:
    rows = [
        {"prompt": f"Mood of {n}?\n\n###\n\n", "completion": f" {mood} END"}
        for n, mood in enumerate(["good", "bad"] * 6)
    ]
    report = survey(enumerate(rows, start=1), None, CONFIG)
    assert [hint.partition(",")[0] for hint in report["hints"]] == [
        "12 of 12 prompts end with '\\n\\n###\\n\\n'",
        "12 of 12 answers end with ' END'",
    ]


def test_personal_data_is_flagged_by_line_and_not_shown() -> None:
    report = report_of({"input": "mail me: jo.do@example.com", "output": "ok"})
    assert report["personal_data"] == {"email": {"rows": 1, "lines": [41]}}


def test_the_histogram_has_a_bin_for_every_length() -> None:
    assert histogram([1, 32, 33, 9000]) == [
        {"up_to": 32, "rows": 2},
        {"up_to": 64, "rows": 1},
        *({"up_to": end, "rows": 0} for end in (128, 256, 512, 1024, 2048, 4096, 8192)),
        {"up_to": None, "rows": 1},
    ]
    assert histogram([]) == []


def test_the_page_shows_what_is_odd_and_needs_nothing_else(tiny_base: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows <b>.jsonl"
    rows = [*ROWS, {**ROWS[1], "output": "<script>alert(1)</script>"}, {"input": "x"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    report = survey_file(file, Base.open(tiny_base), CONFIG)
    page = page_of(report, file.name)
    assert "1 row of 42 cannot be used" in page and "<h2>Contradictions</h2>" in page
    assert "<script" not in page and "<b>.jsonl" not in page and "&lt;script&gt;" in page
    assert "src=" not in page and "href=" not in page


@pytest.mark.parametrize("bad", [False, True])
def test_the_command_reports_on_a_file(
    bad: bool,
    tiny_base: Path,
    tmp_path: Path,
    write_lines: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_lines([*ROWS, *([{"input": "x"}] if bad else [])])
    page = tmp_path / "report.html"
    arguments = ["--base", str(tiny_base), "--config", '{"max_length": 64}', "--page", str(page)]
    assert main(["check", str(path), *arguments]) == (2 if bad else 0)
    report = json.loads(capsys.readouterr().out)
    assert report["examples"] == 40 and report["problem_count"] == int(bad)
    assert report["file"] == {"name": "data.jsonl", "kind": "jsonl", "gzipped": False}
    assert "data.jsonl" in page.read_text()


def test_the_command_lists_rows_as_jsonl(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("input,output\na,b\n")
    assert main(["rows", str(path)]) == 0
    assert capfdbinary.readouterr().out == b'{"input": "a", "output": "b"}\n'
