"""The trainer as a process on the shipped base, ended in every way a process can end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helox.checkpoint_files import CHECKPOINTS_DIR, newest_first

ROOT = Path(__file__).parents[3]
SHIPPED_BASE = ROOT / "base_model" / "cyrex-small"
DEADLINE_SECONDS = 120.0
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}

PARENT = """
import os, subprocess, sys, time
command = [sys.executable, "-m", "helox", "train", sys.argv[1]]
command += ["--die-with-parent", str(os.getpid())]
print(subprocess.Popen(command).pid, flush=True)
time.sleep(600)
"""


class Run:
    """One spec in a folder of its own, and what its processes leave there."""

    def __init__(self, folder: Path, *, use_qlora: bool = False, epochs: int = 6) -> None:
        folder.mkdir()
        words = ["north", "south", "east", "west", "up", "down", "left", "right"]
        lines = [{"input": f"Go {w} {n}", "output": f"{n} {w}"} for w in words for n in range(4)]
        (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        config = {
            "num_epochs": epochs,
            "batch_size": 2,
            "lora_rank": 4,
            "lora_dropout": 0.1,
            "checkpoint_every_steps": 1,
        }
        self.work = folder / "work"
        self.output = folder / "adapter"
        self.spec = folder / "spec.json"
        body = {
            "base_model": str(SHIPPED_BASE),
            "data": str(folder / "data.jsonl"),
            "work_dir": str(self.work),
            "output_dir": str(self.output),
            "seed": 5,
            "use_qlora": use_qlora,
            "config": config,
        }
        self.spec.write_text(json.dumps(body))

    @contextlib.contextmanager
    def process(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            command or (sys.executable, "-m", "helox", "train", str(self.spec)),
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def events(self, type_: str) -> list[dict[str, Any]]:
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.work / "events.jsonl").read_text().splitlines():
                with contextlib.suppress(ValueError):  # torn by a kill
                    found.append(json.loads(line))
        return [event for event in found if event["type"] == type_]

    def wait_for_checkpoints(self, count: int) -> int:
        """Until `count` more were saved; returns the step of the last."""
        already = len(self.events("checkpoint.saved"))
        wait_until(lambda: len(self.events("checkpoint.saved")) >= already + count)
        step: int = self.events("checkpoint.saved")[-1]["step"]
        return step

    def published(self) -> dict[str, bytes]:
        names = ("adapter_model.safetensors", "adapter_config.json")
        return {name: (self.output / name).read_bytes() for name in names}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("whole") / "run")
    with run.process() as process:
        assert process.wait(DEADLINE_SECONDS) == 0
    return run


def test_killed_in_every_way_it_ends_in_the_same_bytes(uninterrupted: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")

    with run.process(sys.executable, "-c", PARENT, str(run.spec)) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        run.wait_for_checkpoints(3)
        parent.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_alive(child))

    with run.process() as process:
        last = run.wait_for_checkpoints(5)
        process.send_signal(signal.SIGKILL)
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    assert not run.output.exists()
    assert last < 84  # it did not just finish

    with run.process() as process:
        run.wait_for_checkpoints(5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 75
    assert not run.output.exists()
    assert json.loads((run.work / "progress.json").read_text())["phase"] == "interrupted"

    with run.process() as process:
        assert process.wait(DEADLINE_SECONDS) == 0
    resumed = [event["step"] for event in run.events("run.resumed")]
    assert len(resumed) == 3 and 0 < resumed[0] < resumed[1] < resumed[2]
    assert run.published() == uninterrupted.published()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_only_the_newest_checkpoint_travels_and_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """QLoRA, as is the API's default: killed on one host, gone on with on another, by a process
    that stood by with its libraries loaded."""
    names = ("whole", "one", "two")
    whole, first, second = (Run(tmp_path / name, use_qlora=True, epochs=1) for name in names)
    with whole.process() as process:
        assert process.wait(DEADLINE_SECONDS) == 0
    with first.process() as process:
        first.wait_for_checkpoints(5)
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_SECONDS)
    _, newest = newest_first(first.work / CHECKPOINTS_DIR)[0]
    shutil.copytree(newest, second.work / CHECKPOINTS_DIR / newest.name)
    shutil.rmtree(first.work)
    standby = subprocess.run(
        [sys.executable, "-m", "helox", "train", "-"],
        cwd=ROOT,
        env=ENVIRONMENT,
        input=f"{second.spec}\n",
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert standby.returncode == 0
    assert second.events("run.resumed")
    assert second.published() == whole.published()


def test_the_receipt_of_a_process(uninterrupted: Run) -> None:
    receipt = json.loads((uninterrupted.output / "receipt.json").read_text())
    assert receipt["base_model"]["name"] == "cyrex-small"
    assert receipt["seed"] == 5 and receipt["threads"] == 1 and receipt["precision"] == "fp32"
    assert receipt["adapter"]["type"] == "lora"
    assert receipt["libraries"]["torch"] and receipt["code"]["helox"]
    assert receipt["metrics"]["train_loss"] < receipt["metrics"]["epochs"][0]["loss"]


def test_a_parent_that_is_already_gone_takes_the_child_along(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run = Run(tmp_path / "run")
    command = (sys.executable, "-m", "helox", "train", str(run.spec), "--die-with-parent")
    with run.process(*command, str(gone.pid)) as process:
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    assert not run.work.exists()
