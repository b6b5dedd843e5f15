"""The life of one supervised process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.supervisor import process as module
from embedded.supervisor.process import SupervisedProcess
from embedded.supervisor.spec import ProcessSpec, Stage
from embedded.supervisor.state import Status
from tests.support.waiting import eventually

FOREVER = "import time; time.sleep(600)"


@pytest.fixture
def made() -> Iterator[list[SupervisedProcess]]:
    found: list[SupervisedProcess] = []
    yield found
    for process in found:
        if process.pid is not None:
            process.send(signal.SIGKILL)
            process.ended(stopping=True)


def make(made: list[SupervisedProcess], folder: Path, code: str, **how: Any) -> SupervisedProcess:
    spec = ProcessSpec("it", (sys.executable, "-c", code), Stage.WORKER, **how)
    process = SupervisedProcess(spec, folder / "it.log", dict(os.environ))
    made.append(process)
    return process


def test_it_becomes_ready_when_its_probe_says_so(
    made: list[SupervisedProcess], tmp_path: Path
) -> None:
    answers = iter([False, True])
    process = make(made, tmp_path, FOREVER, ready=lambda _age: next(answers))
    assert (process.status, process.pid) == (Status.WAITING, None)
    process.start()
    assert process.status is Status.STARTING
    assert not process.check()
    assert process.check(), "it has just become ready"
    assert not process.check(), "it was so before"
    assert process.state.status is Status.READY
    assert process.state.restarts == 0


def test_it_is_started_again_after_a_pause_that_grows(
    made: list[SupervisedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_SECONDS", 0.01)
    process = make(made, tmp_path, "raise SystemExit(3)")
    for failures in (1, 2):
        process.start()
        process.ended(stopping=False)
        assert (process.status, process.failures) == (Status.DOWN, failures)
        assert process.how_it_ended == "exit status 3"
        eventually(process.is_due, what="its next start")
    monkeypatch.setattr(module, "FIRST_DELAY_SECONDS", 3600.0)
    monkeypatch.setattr(module, "LONGEST_DELAY_SECONDS", 3600.0)
    process.start()
    process.ended(stopping=False)
    assert not process.is_due()
    assert process.state.restarts == 2


def test_a_step_is_done_when_it_ends_well(made: list[SupervisedProcess], tmp_path: Path) -> None:
    process = make(made, tmp_path, "print('done')", once=True)
    process.start()
    process.ended(stopping=False)
    assert (process.status, process.was_ready) == (Status.DONE, True)
    assert "done" in (tmp_path / "it.log").read_text()


def test_a_signal_is_named(made: list[SupervisedProcess], tmp_path: Path) -> None:
    process = make(made, tmp_path, FOREVER)
    process.start()
    process.send(signal.SIGKILL)
    process.ended(stopping=True)
    assert (process.status, process.how_it_ended) == (Status.STOPPED, "killed by SIGKILL")


def test_one_that_is_not_ready_in_its_time_is_late(
    made: list[SupervisedProcess], tmp_path: Path
) -> None:
    process = make(made, tmp_path, FOREVER, ready=lambda _age: False, start_seconds=0.0)
    process.start()
    eventually(process.is_late)
