from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helox.cli import main


@pytest.fixture
def spec(tiny_base: Path, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "data.jsonl").write_text('{"input": "a", "output": "b"}\n')
    return {
        "base_model": str(tiny_base),
        "data": str(tmp_path / "data.jsonl"),
        "work_dir": str(tmp_path / "work"),
        "output_dir": str(tmp_path / "adapter"),
        "config": {"max_length": 64},
    }


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    def run(command: str, spec: Any) -> int:
        path = tmp_path / "spec.json"
        path.write_text(spec if isinstance(spec, str) else json.dumps(spec))
        return main([command, str(path)])

    return run


def error_of(tmp_path: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((tmp_path / "work" / "error.json").read_text())
    return body


def test_check_prints_the_report(
    spec: dict[str, Any], run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", spec) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["ok"] and body["counts"]["trained"] == 1 and body["estimate"]["steps"] == 100


def test_check_of_bad_data_lists_the_lines(
    spec: dict[str, Any], run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(spec["data"]).write_text("x\n")
    assert run("check", spec) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["lines"] == [{"line": 1, "field": "line", "message": error["lines"][0]["message"]}]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"base_model": "/nowhere/model"}, "bad_base_model", "base_model"),
        ({"data": "/nowhere/data"}, "no_data", "data"),
        ({"config": {"lora_rank": 0}}, "invalid_config", "config.lora_rank"),
        ({"extra": 1}, "invalid_config", "extra"),
    ],
)
def test_a_users_error_exits_with_2_and_says_why(
    spec: dict[str, Any],
    run: Callable[..., int],
    tmp_path: Path,
    change: dict[str, Any],
    code: str,
    field: str,
) -> None:
    assert run("train", {**spec, **change}) == 2
    error = error_of(tmp_path)
    assert (error["code"], error["field"], error["user_error"]) == (code, field, True)
    assert not (tmp_path / "adapter").exists()


def test_a_base_without_a_chat_template(
    spec: dict[str, Any], run: Callable[..., int], tmp_path: Path
) -> None:
    base = shutil.copytree(spec["base_model"], tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    assert run("train", {**spec, "base_model": str(base)}) == 2
    assert error_of(tmp_path)["code"] == "no_chat_template"


def test_the_output_of_another_run_is_not_written_over(
    spec: dict[str, Any], run: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine.txt").write_text("keep")
    assert run("train", spec) == 2
    assert error_of(tmp_path)["code"] == "output_exists"
    assert (tmp_path / "adapter" / "mine.txt").read_text() == "keep"


def test_a_spec_that_is_not_there_or_not_json(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "none.json")]) == 2
    assert run("train", "{") == 2
    assert all(json.loads(line)["user_error"] for line in capsys.readouterr().err.splitlines())


def test_a_system_error_exits_with_1(
    spec: dict[str, Any], run: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "holdout.jsonl").mkdir()  # in the way of a file
    assert run("train", spec) == 1
    error = error_of(tmp_path)
    assert error["code"] == "system_error" and error["user_error"] is False


def test_a_trainer_that_stands_by_reads_its_spec_from_standard_input(
    spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{path}\n"))
    assert main(["train", "-"]) == 0
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["train", "-"]) == 0, "nobody had a run for it"
