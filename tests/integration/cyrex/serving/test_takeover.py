"""An engine outlives the process that started it, and the next one takes it over."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cyrex.engine import AdapterRef, EngineConfig, Request
from cyrex.engine.loop import Engine
from cyrex.serving import EngineProcess, child
from cyrex.serving.takeover import address
from tests.support.waiting import eventually

PROMPT = list(range(10, 30))
LONG = 130
PARENT = """
import pickle, sys, time
from cyrex.serving import EngineProcess
arguments, requests, wait = pickle.load(sys.stdin.buffer)
engine = EngineProcess(**arguments)
if wait:
    engine.wait_ready(120)
handles = [engine.submit(request) for request in requests]
wanted = {request.key for request in requests}
while engine.pid is None:
    time.sleep(0.01)
while wanted and not wanted <= {each.key for each in engine.resident()}:
    time.sleep(0.01)
print(engine.pid, flush=True)
time.sleep(600)
"""


def config(base: Path, batch: int = 8) -> EngineConfig:
    return EngineConfig(str(base), max_batch=batch)


@contextmanager
def predecessor(
    base: Path, place: str, requests: list[Request], wait: bool = True, linger: float = 30.0
) -> Iterator[int]:
    """The pid of the engine of a process that lives until it is killed."""
    arguments = {"config": config(base), "place": place, "linger_seconds": linger}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        parent.stdin.write(pickle.dumps((arguments, requests, wait)))
        parent.stdin.close()
        engine = int(parent.stdout.readline())
        try:
            yield engine
        finally:
            parent.kill()


@contextmanager
def successor(base: Path, place: str, batch: int = 8) -> Iterator[EngineProcess]:
    engine = EngineProcess(config(base, batch), place=place)
    try:
        engine.wait_ready(120)
        yield engine
    finally:
        engine.close()


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_is_taken_over_with_what_it_has_loaded(
    base: Path, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    place = str(tmp_path)
    company = adapters[0].company
    left = [Request(company, adapters[0], [7, i], LONG) for i in range(40)]
    with predecessor(base, place, left) as pid:
        pass
    with successor(base, place) as engine:
        assert engine.pid == pid
        assert adapters[0].key in [each.key for each in engine.resident()]
        # Nobody waits any more for what its first parent had asked.
        asked = [Request(company, adapters[0], PROMPT, 8) for _ in range(4)]
        answers = [engine.submit(each).result(60).tokens for each in asked]
        stats = engine.stats()
        assert stats is not None
        assert stats.running == stats.waiting == 0
    assert ended(pid), "closed, not killed, it ends"
    with successor(base, place) as fresh:
        assert fresh.pid != pid
        assert fresh.submit(asked[0]).result(60).tokens == answers[0]
    assert answers == [answers[0]] * 4


def test_it_is_taken_over_while_it_loads(base: Path, tmp_path: Path) -> None:
    with predecessor(base, str(tmp_path), [], wait=False) as pid:
        name = address(str(tmp_path))[1:].decode()
        eventually(lambda: name in Path("/proc/net/unix").read_text(), 10, "its address")
    with successor(base, str(tmp_path)) as engine:
        assert engine.pid == pid
        assert engine.submit(Request("company0", None, PROMPT, 4)).result(60).tokens


def test_it_is_taken_over_again_and_again(base: Path, tmp_path: Path) -> None:
    pids = set()
    for _ in range(3):
        with predecessor(base, str(tmp_path), []) as pid:
            pids.add(pid)
    with successor(base, str(tmp_path)) as engine:
        assert pids == {engine.pid}


def test_on_other_terms_it_is_ended_first(base: Path, tmp_path: Path) -> None:
    with predecessor(base, str(tmp_path), []) as pid:
        pass
    with successor(base, str(tmp_path), batch=4) as engine:
        assert ended(pid)
        assert engine.pid != pid


def test_one_that_does_not_answer_is_ended_first(base: Path, tmp_path: Path) -> None:
    with predecessor(base, str(tmp_path), []) as pid:
        os.kill(pid, signal.SIGSTOP)
    with successor(base, str(tmp_path)) as engine:
        assert ended(pid)
        assert engine.pid != pid


def test_one_in_service_is_left_alone(base: Path, tmp_path: Path) -> None:
    with predecessor(base, str(tmp_path), []) as pid:
        with successor(base, str(tmp_path)) as engine:
            assert engine.pid != pid
        assert not ended(pid)


def test_one_that_hangs_serves_nobody(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killing the worker of an engine that hangs would bring back the same one."""
    monkeypatch.setattr(child, "ROUND_SECONDS", 0.2)
    engine = Engine(config(base))
    go_on = threading.Event()
    try:
        assert child.comes_round(engine)
        hanging = engine._call(go_on.wait)
        assert not child.comes_round(engine)
        go_on.set()
        assert hanging.result(10)
        assert child.comes_round(engine)
    finally:
        engine.close()
    assert not child.comes_round(engine)


def test_in_another_place_it_is_not_found(base: Path, tmp_path: Path) -> None:
    with predecessor(base, str(tmp_path), [], linger=60.0) as pid:
        pass
    with successor(base, str(tmp_path / "other")) as engine:
        assert engine.pid != pid
        assert not ended(pid)
    os.kill(pid, signal.SIGKILL)


def test_it_ends_when_nobody_comes(base: Path, tmp_path: Path) -> None:
    with predecessor(base, str(tmp_path), [], linger=1.0) as pid:
        pass
    assert not ended(pid)
    eventually(lambda: ended(pid), 10, "its end")


def test_one_that_was_taken_over_is_replaced_when_it_dies(base: Path, tmp_path: Path) -> None:
    with predecessor(base, str(tmp_path), []) as pid:
        pass
    with successor(base, str(tmp_path)) as engine:
        request = Request("company0", None, PROMPT, 4)
        expected = engine.submit(request).result(60).tokens
        for _ in range(2):
            old = engine.pid
            assert old is not None
            os.kill(old, signal.SIGKILL)
            eventually(lambda old=old: engine.pid not in (None, old), 10, "the next one")
            assert engine.submit(request).result(60).tokens == expected
        assert pid != engine.pid
