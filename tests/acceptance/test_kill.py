"""kill −9 of any one process during the main job: it still ends with the same table."""

from __future__ import annotations

import signal

import psutil
import pytest

from demo.client import Api
from embedded import Stack
from tests.acceptance.engines import engine_of
from tests.acceptance.small_demo import SmallDemo, Table


def kill_helox(stack: Stack) -> bool:
    """SIGKILL the trainer; False: none is there."""
    for child in psutil.Process(stack.pid("training")).children(recursive=True):
        if "helox" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGKILL)
            return True
    return False


def check(stack: Stack, operator: Api, undisturbed: Table, name: str) -> None:
    demo = SmallDemo(operator, lambda _phase: stack.kill(name) and None)
    assert demo.run() == undisturbed
    assert demo.phases == {"training", "asking"}
    assert stack.restarts(name) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["training", "postgres", "bridge", "web", "inference", "valkey", "beat", "tools", "flower"],
)
def test_killed_process(stack: Stack, operator: Api, undisturbed: Table, name: str) -> None:
    check(stack, operator, undisturbed, name)


def test_killed_engine_and_trainer(stack: Stack, operator: Api, undisturbed: Table) -> None:
    """The model processes that are children of workers: Helox while training, then the engine."""

    def kill(phase: str) -> None:
        if phase == "training":
            assert kill_helox(stack)
        else:
            engine_of(stack).kill()

    demo = SmallDemo(operator, kill)
    assert demo.run() == undisturbed
    assert demo.phases == {"training", "asking"}
