"""The engine in a child process: many threads, and a child that dies."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrex.engine import (
    AdapterRef,
    Cancelled,
    Completion,
    DeadlineExceeded,
    EngineClosed,
    EngineConfig,
    EngineError,
    PromptTooLong,
    Request,
)
from cyrex.serving import EngineDied, EngineProcess, EngineStartError, process
from cyrex.serving.spawn import Child
from cyrex.serving.wire import Terms
from tests.support.waiting import eventually

PROMPT = list(range(10, 30))
# Long enough to be under way when the test does something to it: the tiny model's context.
LONG = 130


def config(base: Path) -> EngineConfig:
    return EngineConfig(str(base), max_batch=16)


@pytest.fixture(scope="module")
def engine(base: Path) -> Iterator[EngineProcess]:
    engine = EngineProcess(config(base))
    engine.wait_ready(120)
    yield engine
    engine.close()


def ask(engine: EngineProcess, adapter: AdapterRef | None, tokens: int = 8) -> Completion:
    company = adapter.company if adapter else "company0"
    return engine.submit(Request(company, adapter, PROMPT, tokens)).result(60)


def test_many_threads_get_their_own_answers(
    engine: EngineProcess, adapters: list[AdapterRef]
) -> None:
    choices = [None, *adapters]
    alone = [ask(engine, adapter) for adapter in choices]
    assert len({tuple(completion.tokens) for completion in alone}) == len(choices)
    answers: list[tuple[int, Completion]] = []

    def caller(number: int) -> None:
        for step in range(6):
            choice = (number + step) % len(choices)
            answers.append((choice, ask(engine, choices[choice])))

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 16 * 6
    for choice, completion in answers:
        assert completion.tokens == alone[choice].tokens
        assert completion.sha256 == alone[choice].sha256


def test_adapters_are_warmed_and_listed(engine: EngineProcess, adapters: list[AdapterRef]) -> None:
    assert engine.ping()
    assert engine.warm(adapters[0])
    assert [resident.key for resident in engine.resident()][-1] == adapters[0].key
    damaged = dataclasses.replace(adapters[0], sha256="0" * 64, weights_sha256="0" * 64)
    assert engine.warm(damaged) is False
    assert damaged.key not in [resident.key for resident in engine.resident()]


def test_errors_arrive_as_what_they_are(engine: EngineProcess) -> None:
    with pytest.raises(PromptTooLong, match="160"):
        engine.submit(Request("company0", None, [5] * 160)).result(60)
    late = Request("company0", None, PROMPT, LONG, deadline=time.monotonic() - 1)
    with pytest.raises(DeadlineExceeded):
        engine.submit(late).result(60)


def test_a_cancelled_request_ends(engine: EngineProcess) -> None:
    handles = [engine.submit(Request("company0", None, [7, i], LONG)) for i in range(40)]
    handles[-1].cancel()
    with pytest.raises(Cancelled):
        handles[-1].result(60)
    assert all(handle.result(60).tokens for handle in handles[:-1])


def test_a_child_that_is_killed_fails_its_requests_at_once_and_is_replaced(
    engine: EngineProcess, adapters: list[AdapterRef]
) -> None:
    expected = ask(engine, adapters[0]).tokens
    pid = engine.pid
    assert pid is not None
    requests = [Request("company0", adapters[0], [9, i], LONG) for i in range(64)]
    handles = [engine.submit(request) for request in requests]
    started = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    died = 0
    for handle in handles:
        try:
            handle.result(5)
        except EngineDied as error:
            assert error.retryable
            died += 1
    assert died > 0
    assert time.monotonic() - started < 1.0
    assert ask(engine, adapters[0]).tokens == expected
    assert engine.pid not in (None, pid)


def test_a_stopped_child_does_not_answer_a_ping(engine: EngineProcess) -> None:
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert engine.ping(0.2) is False
    finally:
        os.kill(pid, signal.SIGCONT)
    assert engine.ping(60)


def test_closing_drains_within_its_deadline(base: Path) -> None:
    engine = EngineProcess(config(base))
    engine.wait_ready(120)
    first = engine.submit(Request("company0", None, PROMPT, 8))
    engine.close(30)
    assert len(first.result(0).tokens) <= 8
    with pytest.raises(EngineClosed):
        engine.submit(Request("company0", None, PROMPT, 8))
    assert engine.pid is None


def test_closing_while_it_starts_ends_it(base: Path) -> None:
    engine = EngineProcess(config(base))
    handle = engine.submit(Request("company0", None, PROMPT, 8))
    started = time.monotonic()
    engine.close(0)
    assert time.monotonic() - started < 2
    with pytest.raises(EngineClosed):
        handle.result(0)


def test_who_waits_for_an_engine_outlives_one_that_is_killed_while_it_starts(base: Path) -> None:
    engine = EngineProcess(config(base))
    try:
        handle = engine.submit(Request("company0", None, PROMPT, 4))
        for _ in range(2):
            killed = wait_for_pid(engine, None)
            os.kill(killed, signal.SIGKILL)
            wait_for_pid(engine, killed)
        assert len(handle.result(120).tokens) == 4
    finally:
        engine.close()


def wait_for_pid(engine: EngineProcess, other_than: int | None) -> int:
    deadline = time.monotonic() + 30
    while (pid := engine.pid) is None or pid == other_than:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return pid


def test_a_base_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    engine = EngineProcess(EngineConfig(str(tmp_path / "no-such-model")))
    handle = engine.submit(Request("company0", None, PROMPT))
    with pytest.raises(EngineStartError, match="no-such-model"):
        engine.wait_ready(120)
    with pytest.raises(EngineStartError, match="no-such-model"):
        handle.result(10)
    with pytest.raises(EngineStartError, match="no-such-model"):
        engine.submit(Request("company0", None, PROMPT)).result(10)
    engine.close()


def test_a_machine_with_no_process_to_spare_is_asked_again(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Terms] = []

    def start(terms: Terms) -> Child:
        asked.append(terms)
        if len(asked) == 1:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return Child(terms)

    monkeypatch.setattr(process, "Child", start)
    engine = EngineProcess(config(base))
    try:
        with pytest.raises(EngineStartError, match="temporarily unavailable"):
            engine.wait_ready(10)
        eventually(lambda: engine.ready, 120, "the next one")
        assert ask(engine, None).tokens
    finally:
        engine.close()


def test_a_child_that_will_not_end_is_not_the_end(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Child.end
    asked: list[Child] = []

    def stuck(child: Child) -> str:
        asked.append(child)
        said = end(child)
        if len(asked) == 1:
            raise subprocess.TimeoutExpired("engine", 10)
        return said

    monkeypatch.setattr(Child, "end", stuck)
    engine = EngineProcess(config(base))
    try:
        engine.wait_ready(120)
        under_way = engine.submit(Request("company0", None, PROMPT, LONG))
        pid = engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(EngineError):
            under_way.result(10)
        assert asked[0].connection.closed
        eventually(lambda: engine.ready, 120, "the next one")
        assert ask(engine, None).tokens
    finally:
        engine.close()


PARENT = """
import sys, time
from cyrex.engine import EngineConfig
from cyrex.serving import EngineProcess
assert not {"torch", "transformers", "peft"} & set(sys.modules)
engine = EngineProcess(EngineConfig(sys.argv[1]))
while engine.pid is None:
    time.sleep(0.01)
print(engine.pid, flush=True)
time.sleep(60)
"""


def test_the_child_dies_with_its_parent(base: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(base)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    for _ in range(500):
        if not _is_running(child):
            return
        time.sleep(0.01)
    pytest.fail("the child outlives its parent")


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
