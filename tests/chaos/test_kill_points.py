"""A process dies at an armed point, once for each token, and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos import kill_points

PROGRAM = """
from tests.chaos.kill_points import after, before
print(before("start_claim", lambda: "begun")(), flush=True)
print(after("answer_row", lambda: print("done", flush=True))(), flush=True)
"""


def run(folder: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, kill_points.VARIABLE: str(folder), "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.split()


def test_nobody_dies_where_nothing_is_armed(tmp_path: Path) -> None:
    assert run(tmp_path) == (0, ["begun", "done", "None"])


def test_one_process_a_token(tmp_path: Path) -> None:
    kill_points.arm(tmp_path, "answer_row")
    assert run(tmp_path) == (-signal.SIGKILL, ["begun", "done"])
    assert run(tmp_path)[0] == 0
    (fired,) = kill_points.fired(tmp_path)
    assert (fired.point, fired.worker_id) == ("answer_row", None)


def test_before_is_before(tmp_path: Path) -> None:
    kill_points.arm(tmp_path, "start_claim")
    assert run(tmp_path) == (-signal.SIGKILL, [])


def test_a_token_that_nobody_met_is_taken_back(tmp_path: Path) -> None:
    kill_points.arm(tmp_path, "tool_row")
    assert kill_points.disarm(tmp_path) == ["tool_row"]
    assert kill_points.disarm(tmp_path) == []


def test_points_are_places_of_the_product() -> None:
    """The functions that the chaos workers wrap are there, under these names."""
    program = """
import tests.chaos.armed_worker, tests.chaos.armed_web
import cyrex.tools.steps, cyrex.training.train_step, synapse.relay
import tasks.steps.jobs, tasks.steps.run
from modelkit.store_registry import StoreRegistry
from synapse.group import Group
from tasks.broker import dispatch
wrapped = (cyrex.tools.steps.send, cyrex.training.train_step.put_package, synapse.relay.update,
           tasks.steps.jobs.answer, tasks.steps.run.run_step, StoreRegistry.register_model,
           Group.ack, dispatch.publish)
print(all("chaos" in each.__code__.co_filename for each in wrapped))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split()[-1:] == ["True"], done.stderr
