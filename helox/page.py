"""The report on a dataset as one HTML page that needs nothing else: no script, no other file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from helox.page_style import STYLE

MAX_ROWS = 100  # of a table
MAX_LABELS = 60
Report = dict[str, Any]


def page_of(report: Report, title: str) -> str:
    """The page of what `helox.survey` found."""
    sections = (
        _problems(report),
        _hints(report),
        _warnings(report),
        _lengths(report),
        _labels(report),
        _contradictions(report),
        _near(report),
        _personal(report),
        _control(report),
        _ignored(report),
        _training(report),
    )
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}: data check</title><style>{STYLE}</style></head><body><main>"
        f"<header><p class=kind>Data check</p><h1>{escape(title)}</h1>{_verdict(report)}</header>"
        f"{_tiles(report)}{body}</main></body></html>\n"
    )


def _verdict(report: Report) -> str:
    bad, lines = report["problem_count"], report["lines"]
    if bad:
        text = f"{_n(bad, 'row')} of {lines:,} cannot be used: nothing is trained until they are."
        return f'<p class="verdict bad">{text}</p>'
    if not report["ok"]:
        return '<p class="verdict bad">There is no example in it.</p>'
    problem = report.get("not_trainable")
    if problem or report.get("config_problems"):
        said = problem["message"] if problem else report["config_problems"][0]["message"]
        return f'<p class="verdict bad">It cannot be trained on: {escape(said)}</p>'
    odd = _odd(report)
    if odd:
        return f'<p class="verdict odd">It can be trained on. Look first at {escape(odd)}.</p>'
    return '<p class="verdict good">It can be trained on, and nothing is odd about it.</p>'


def _odd(report: Report) -> str:
    counts = report["counts"]
    near = report["near_duplicates"] or {"rows": 0}
    named = (
        (counts["contradictions"], "contradictions"),
        (counts["dropped"], "dropped rows"),
        (counts["cut"], "cut rows"),
        (len(report["label_variants"]), "labels spelled twice"),
        (len(counts["control_tokens"]), "control tokens"),
        (counts["duplicates"], "duplicates"),
        (near["rows"], "near duplicates"),
        (len(report["personal_data"]), "personal data"),
        (len(counts["ignored_fields"]) + counts["ignored_endings"], "what is not read"),
        (report["warning_count"], "warnings"),
    )
    *first, last = [name for count, name in named if count] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _tiles(report: Report) -> str:
    counts, estimate = report["counts"], report["estimate"] or {}
    held = "not split" if counts["held_out"] is None else f"{counts['held_out']:,}"
    tiles = [(f"{counts['examples']:,}", "examples"), (held, "held out")]
    if report["base_model"]:
        tiles.append((f"{report['tokens']:,}", "tokens in one epoch"))
        tiles.append((f"{counts['cut']:,}", "cut at max_length"))
        tiles.append((f"{counts['dropped']:,}", "dropped: nothing to learn"))
    tiles.append((f"{counts['duplicates']:,}", "duplicates"))
    tiles.append((f"{counts['contradictions']:,}", "contradictions"))
    if estimate:
        tiles.append((_minutes(estimate["seconds"]), "training, estimated"))
        tiles.append((_bytes(estimate["memory_bytes"]), "memory, estimated"))
    shown = "".join(
        f"<div><b>{escape(value)}</b><span>{name}</span></div>" for value, name in tiles
    )
    forms = "".join(
        f"<span class=chip>{escape(form)} <b>{count:,}</b></span>"
        for form, count in counts["forms"].items()
    )
    return f"<div class=tiles>{shown}</div><p class=chips>{forms}</p>"


def _problems(report: Report) -> str:
    rows = [(p.get("line", ""), p.get("field", ""), p["message"]) for p in report["problems"]]
    table = _table(("Line", "Field", "What is wrong"), rows, report["problem_count"])
    return _section("Rows that cannot be used", table) if rows else ""


def _warnings(report: Report) -> str:
    rows = [(w.get("line", ""), w.get("field", ""), w["message"]) for w in report["warnings"]]
    table = _table(("Line", "Field", "Warning"), rows, report["warning_count"])
    return _section("Warnings", table) if rows else ""


def _hints(report: Report) -> str:
    items = "".join(f"<li>{escape(hint)}</li>" for hint in report["hints"])
    return _section("Hints", f"<ul>{items}</ul>") if items else ""


def _lengths(report: Report) -> str:
    bins = report["histogram"]
    if not bins:
        return ""
    start, bars = 0, []
    for found in bins:
        end = found["up_to"]
        name = f"{start + 1:,}–{end:,}" if end is not None else f"over {start:,}"
        bars.append((name, found["rows"]))
        start = end or start
    limit = report["settings"]["max_length"]
    said = f"Tokens of a row before any cut. The longest has {report['longest']:,}; rows are cut at"
    return _section("Lengths", f"<p>{said} max_length, which is {limit:,}.</p>{_bars(bars)}")


def _labels(report: Report) -> str:
    labels = report["labels"]
    if not labels:
        return ""
    bars = [(found["label"], found["count"]) for found in labels[:MAX_LABELS]]
    more = f"<p>and {len(labels) - MAX_LABELS} more</p>" if len(labels) > MAX_LABELS else ""
    rare = sum(found["count"] == 1 for found in labels)
    said = f"{_n(len(labels), 'label')}; {rare} of them on one row alone" if rare else ""
    return _section("Labels", (f"<p>{said}.</p>" if said else "") + _bars(bars) + more)


def _contradictions(report: Report) -> str:
    pairs = report["contradiction_pairs"]
    if not pairs:
        return ""
    rows = [(f"{p['lines'][0]} and {p['lines'][1]}", p["question"], *p["answers"]) for p in pairs]
    said = "<p>The same question with two answers: a model learns neither.</p>"
    heads = ("Lines", "Question", "Answer", "Other answer")
    return _section("Contradictions", said + _table(heads, rows, report["contradictions"]))


def _near(report: Report) -> str:
    near = report["near_duplicates"]
    if not near or not near["pairs"]:
        return ""
    leaking = (report["leakage"] or {}).get("rows", 0)
    said = f"{_n(near['rows'], 'question')} of {near['compared']:,} almost repeat an earlier one."
    if leaking:
        said += f" {_n(leaking, 'row')} of them across the split: the hold-out flatters."
    rows = [
        (
            f"{p['lines'][0]} and {p['lines'][1]}",
            f"{p['similarity']:.0%}",
            *p["questions"],
            "yes" if p["across_the_split"] else "",
        )
        for p in near["pairs"]
    ]
    heads = ("Lines", "Alike", "Question", "Other question", "Across the split")
    return _section("Near duplicates", f"<p>{said}</p>" + _table(heads, rows, near["rows"]))


def _personal(report: Report) -> str:
    names = {"email": "E-mail addresses", "phone": "Telephone numbers", "card": "Card numbers"}
    rows = [
        (names.get(kind, "Bank accounts (IBAN)"), f"{found['rows']:,}", _lines(found["lines"]))
        for kind, found in report["personal_data"].items()
    ]
    said = "<p>An adapter may repeat what it was trained on. Nothing was changed.</p>"
    table = _table(("What", "Rows", "Lines"), rows)
    return _section("Personal data", said + table) if rows else ""


def _control(report: Report) -> str:
    found = report["control_tokens"]
    rows = [
        (token, said, f"{rows['rows']:,}", _lines(rows["lines"]))
        for kind, said in (
            ("stripped", "taken out of answers"),
            ("shown_as_text", "left, and shown to the model as text"),
        )
        for token, rows in found[kind].items()
    ]
    return (
        _section("Control tokens", _table(("Token", "What happens", "Rows", "Lines"), rows))
        if rows
        else ""
    )


def _ignored(report: Report) -> str:
    rows = [(name, f"{count:,}", "field") for name, count in report["ignored_fields"].items()]
    if report["ignored_endings"]:
        count = report["counts"]["ignored_endings"]
        rows.append(("messages behind the last answer", f"{count:,}", "end of a conversation"))
    table = _table(("Name", "Rows", "What"), rows)
    return _section("Not read", table) if rows else ""


def _training(report: Report) -> str:
    estimate, base = report["estimate"], report["base_model"]
    if not base:
        return _section(
            "Training", "<p>No base model was named: there are no figures of tokens.</p>"
        )
    rows = [("Base model", base["name"])]
    layers = ", ".join(f"{name} ×{count}" for name, count in base["layers"].items())
    rows.append(("Layers with an adapter", layers or "none"))
    if base["experts_left_out"]:
        rows.append(("Experts", "get no adapter: they are fused when the model is loaded"))
    if estimate:
        rows.append(("Epochs", f"{estimate['epochs']:,}"))
        rows.append(("Steps", f"{estimate['steps']:,}"))
        rows.append(("Tokens in all epochs", f"{estimate['tokens']:,}"))
        rows.append(("Time on this machine's processor", _minutes(estimate["seconds"])))
        rows.append(("Memory", _bytes(estimate["memory_bytes"])))
    rows += [(name, str(value)) for name, value in report["settings"].items()]
    return _section("Training", _table(("What", "Figure"), rows))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]], total: int | None = None) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_visible(str(cell)))}</td>" for cell in row) + "</tr>"
        for row in rows[:MAX_ROWS]
    )
    count = max(total or 0, len(rows))
    more = f"<p class=more>{MAX_ROWS} of {count:,} are shown.</p>" if count > MAX_ROWS else ""
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>{more}"


def _bars(bars: Iterable[tuple[str, int]]) -> str:
    bars = list(bars)
    most = max((count for _, count in bars), default=0) or 1
    rows = "".join(
        f"<div class=bar><span>{escape(_visible(name))}</span>"
        f'<i style="width:{count / most:.1%};min-width:{2 * bool(count)}px"></i>'
        f"<b>{count:,}</b></div>"
        for name, count in bars
    )
    return f"<div class=bars>{rows}</div>"


def _visible(text: str) -> str:
    """With marks for the blanks at its ends, which would not be seen."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if start >= end or not (start or end < len(text)):
        return text
    marks = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}
    blanks = ["".join(marks.get(c, c) for c in part) for part in (text[:start], text[end:])]
    return f"{blanks[0]}{text[start:end]}{blanks[1]}"


def _lines(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, lines[:10]))
    return shown + (", …" if len(lines) > 10 else "")


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _bytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"
