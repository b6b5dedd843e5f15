from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helox.errors import Problem, UserError
from helox.progress import Reporter


def events(work_dir: Path) -> list[dict[str, Any]]:
    found = []
    for line in (work_dir / "events.jsonl").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append({"type": "torn"})
    return found


def test_progress_is_whole_at_every_moment(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path / "work")
    reporter.phase("training")
    reporter.training_step(step=1, loss=2.5, tokens=10)
    reporter.phase("saving", "soon")
    body = json.loads((tmp_path / "work" / "progress.json").read_text())
    assert body["phase"] == "saving" and body["step"] == 1 and body["loss"] == 2.5
    assert body["message"] == "soon"
    assert [p.name for p in (tmp_path / "work").iterdir() if "partial" in p.name] == []


def test_steps_are_written_at_a_bounded_rate(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path)
    reporter.phase("training")
    for step in range(200):
        reporter.training_step(step=step, loss=1.0, learning_rate=0.1)
    assert len(events(tmp_path)) == 1  # one metrics event, not two hundred
    assert json.loads((tmp_path / "progress.json").read_text())["step"] < 199


def test_an_event_after_a_torn_line_is_readable(tmp_path: Path) -> None:
    Reporter(tmp_path).event("first", n=1)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"time": "2026')  # killed in the middle
    Reporter(tmp_path).event("second", n=2)
    assert [e["type"] for e in events(tmp_path)] == ["first", "torn", "second"]


def test_an_error_is_left_for_the_watcher_and_cleared_by_the_next_run(tmp_path: Path) -> None:
    lines = [Problem("is missing", field="output", line=3)]
    Reporter(tmp_path).failed(UserError("bad_data", "no", field="output", line=3, lines=lines))
    assert json.loads((tmp_path / "error.json").read_text()) == {
        "code": "bad_data",
        "message": "no",
        "user_error": True,
        "field": "output",
        "line": 3,
        "lines": [{"line": 3, "field": "output", "message": "is missing"}],
    }
    assert json.loads((tmp_path / "progress.json").read_text())["phase"] == "failed"
    Reporter(tmp_path)
    assert not (tmp_path / "error.json").exists()
