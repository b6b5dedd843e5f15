"""Evaluation through the engine, in this process and as a command."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cyrex.adapters.evaluation_child import EvaluationSpec, evaluate, main, read_spec
from cyrex.engine import AdapterRef, EngineConfig, Request
from cyrex.engine.loop import Engine
from helox.errors import UserError
from helox.render import ChatTemplate, prompt_of_job
from modelkit import package

QUESTIONS = 8


def answers(base: Path, ref: AdapterRef) -> list[tuple[str, str]]:
    """Questions and what the adapter really answers to them, where it ends by itself."""
    template = ChatTemplate.load(base)
    engine = Engine(EngineConfig(str(base)))
    found = []
    for number in range(300):
        question = f"question {number}"
        prompt = template.render(prompt_of_job({"input": question}), add_generation_prompt=True)
        answer = engine.submit(Request(ref.company, ref, prompt, 20)).result(60)
        if answer.finish_reason == "stop" and answer.text.strip() and "<" not in answer.text:
            found.append((question, answer.text))
        if len(found) == QUESTIONS:
            break
    engine.close()
    assert len(found) == QUESTIONS
    return found


@pytest.fixture(scope="module")
def holdout(
    base: Path, adapters: list[AdapterRef], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Every second expected answer is the first adapter's own, the others are something else."""
    path = tmp_path_factory.mktemp("holdout") / "holdout.jsonl"
    lines = [
        {"input": question, "output": f" {answer}\n" if number % 2 else "something else"}
        for number, (question, answer) in enumerate(answers(base, adapters[0]))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def spec_of(base: Path, holdout: Path, out: Path, *refs: AdapterRef | None) -> dict[str, Any]:
    labels = iter(["candidate", "champion"])
    candidates = [
        {"label": next(labels), "path": ref.path, "sha256": package.build(ref.path).sha256}
        if ref
        else {"label": "base"}
        for ref in refs
    ]
    paths = {"base_model": str(base), "holdout": str(holdout), "out": str(out)}
    return {**paths, "candidates": candidates}


def test_every_candidate_is_compared_on_the_same_examples(
    base: Path, holdout: Path, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    document = spec_of(base, holdout, tmp_path / "out.json", None, adapters[0], adapters[2])
    report = evaluate(EvaluationSpec.model_validate(document))
    assert list(report["results"]) == ["base", "champion", "candidate"]
    candidate = report["results"]["candidate"]
    assert report["metric"] == "exact"
    assert candidate["scores"] == [0, 1] * (QUESTIONS // 2)
    assert candidate["score"] == 0.5
    assert report["lines"] == list(range(1, QUESTIONS + 1))
    assert len(report["side_by_side"]) == QUESTIONS
    shown = report["side_by_side"][0]
    assert set(shown["answers"]) == {"base", "champion", "candidate"}
    assert shown["answers"]["candidate"].strip() == shown["expected"].strip()
    general = [result["general_loss"] for result in report["results"].values()]
    assert all(loss > 0 for loss in general)
    assert len(set(general)) == 3, "each arm is asked"
    assert candidate["exact_match"] == 0.5
    assert candidate["adapter_sha256"] == package.build(adapters[0].path).sha256
    assert report["results"]["base"]["adapter_sha256"] is None
    assert report["results"]["base"]["exact_match"] < 0.5
    assert report["results"]["champion"]["exact_match"] < 0.5
    losses = {label: result["mean_loss"] for label, result in report["results"].items()}
    assert len(set(losses.values())) == 3
    assert all(loss > 0 for loss in losses.values())
    assert report["examples"] == QUESTIONS == len(report["example_sha256"])
    first = holdout.read_bytes().splitlines()[0]
    assert report["example_sha256"][0] == hashlib.sha256(first).hexdigest()
    assert report["holdout_sha256"] == hashlib.sha256(holdout.read_bytes()).hexdigest()
    assert json.loads(json.dumps(report)) == report


def test_examples_that_do_not_fit_are_wrong_and_counted(
    base: Path, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    holdout = tmp_path / "holdout.jsonl"
    lines = [{"input": "x" * 200, "output": "a"}, {"input": "x", "output": "b"}]
    holdout.write_text("\n".join(map(json.dumps, lines)))
    document = spec_of(base, holdout, tmp_path / "out.json", adapters[0])
    result = evaluate(EvaluationSpec.model_validate(document))["results"]["candidate"]
    assert result["too_long"] == 1
    assert result["scores"][0] == 0
    assert result["answer_tokens"] == 2


def test_an_empty_holdout_has_no_figures(base: Path, tmp_path: Path) -> None:
    holdout = tmp_path / "holdout.jsonl"
    holdout.write_text("")
    document = spec_of(base, holdout, tmp_path / "out.json", None)
    report = evaluate(EvaluationSpec.model_validate(document))
    assert report["examples"] == 0
    assert report["results"]["base"]["exact_match"] is None
    assert report["results"]["base"]["mean_loss"] is None
    assert report["results"]["base"]["scores"] == []


def test_the_command_writes_the_report(
    base: Path, holdout: Path, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "evaluation.json"
    document = spec_of(base, holdout, out, adapters[0])
    (tmp_path / "spec.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "cyrex.adapters.evaluation_child", str(tmp_path / "spec.json")]
    subprocess.run([*command, "--die-with-parent", str(os.getpid())], check=True)
    assert json.loads(out.read_text())["results"]["candidate"]["exact_match"] == 0.5
    assert [path.name for path in out.parent.iterdir()] == ["evaluation.json"]


def test_the_command_dies_with_its_parent(tmp_path: Path) -> None:
    # A pipe that nobody writes to: the command waits for its spec until it is killed.
    os.mkfifo(tmp_path / "spec.json")
    script = (
        "import subprocess, sys, os, time\n"
        "command = [sys.executable, '-m', 'cyrex.adapters.evaluation_child', sys.argv[1],"
        " '--die-with-parent', str(os.getpid())]\n"
        "print(subprocess.Popen(command).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "spec.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(1)
        parent.send_signal(signal.SIGKILL)
    for _ in range(500):
        status = Path(f"/proc/{child}/stat")
        if not status.exists() or status.read_text().split(")")[1].split()[0] == "Z":
            return
        time.sleep(0.01)
    pytest.fail("the command outlives its parent")


def damage(document: dict[str, Any], holdout: Path, what: str) -> None:
    if what == "spec.json":
        document["candidates"] = []
    elif what == "threads":
        document["threads"] = "many"
    elif what == "twice":
        document["candidates"] *= 2
    elif what == "base_model":
        document["base_model"] = "/no/such/model"
    elif what == "holdout":
        document["holdout"] = "/no/such/file"
    elif what == "line 2":
        holdout.write_text('{"input": "a", "output": "b"}\n{"input": "a"}\n')
    elif what == "SHA-256":
        document["candidates"][0]["sha256"] = "0" * 64
    else:
        document["candidates"][0] = {"label": "candidate", "path": "/no/such/adapter"}


@pytest.mark.parametrize(
    "what",
    ["spec.json", "threads", "twice", "base_model", "holdout", "line 2", "SHA-256", "adapter"],
)
def test_wrong_input_is_named_and_nothing_is_written(
    base: Path,
    adapters: list[AdapterRef],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    what: str,
) -> None:
    holdout = tmp_path / "holdout.jsonl"
    holdout.write_text('{"input": "a", "output": "b"}\n')
    document = spec_of(base, holdout, tmp_path / "out.json", adapters[0])
    damage(document, holdout, what)
    (tmp_path / "spec.json").write_text(json.dumps(document))
    assert main([str(tmp_path / "spec.json")]) == 2
    error = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert error["user_error"] is True
    expected = {"spec.json": "candidates"}.get(what, what)
    assert expected in error["message"] or expected == error["field"]
    assert not (tmp_path / "out.json").exists()


def test_a_spec_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.json"):
        read_spec(tmp_path / "missing.json")
