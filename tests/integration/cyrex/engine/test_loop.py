"""The engine's loop: it stops for nobody, and ends with an answer to everybody."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cyrex.engine import (
    EngineClosed,
    EngineConfig,
    Request,
)
from cyrex.engine.loop import Engine
from tests.support.engine_requests import PROMPT


def test_who_reads_a_long_prompt_stops_nobody(engine: Engine) -> None:
    """The decode loop is another thread of the same process."""
    pauses: list[float] = []
    is_read = threading.Event()

    def work() -> None:
        last = time.monotonic()
        while not is_read.wait(0.001):
            pauses.append(time.monotonic() - last)
            last = time.monotonic()

    other = threading.Thread(target=work)
    other.start()
    began = time.monotonic()
    engine.model.encode("a long prompt " * 100_000)
    seconds = time.monotonic() - began
    is_read.set()
    other.join()
    assert max(pauses) < seconds / 2


def test_closing_finishes_or_fails_what_is_under_way(base: Path) -> None:
    engine = Engine(EngineConfig(str(base), max_batch=2))
    handles = [engine.submit(Request("company0", None, [60 + i], 100)) for i in range(20)]
    handles[0].result(60)
    engine.close(0)
    outcomes = [handle.outcome() for handle in handles]
    assert any(isinstance(outcome, EngineClosed) for outcome in outcomes)
    with pytest.raises(EngineClosed):
        engine.submit(Request("company0", None, PROMPT))
    with pytest.raises(EngineClosed):
        engine.ping()

    drained = Engine(EngineConfig(str(base), max_batch=2))
    handles = [drained.submit(Request("company0", None, [60 + i], 20)) for i in range(8)]
    drained.close(60)
    assert all(handle.result(0).tokens for handle in handles)


def test_nobody_waits_for_ever_on_an_engine_that_closes(base: Path) -> None:
    engine = Engine(EngineConfig(str(base)))
    outcomes: list[object] = []

    def caller() -> None:
        while True:
            try:
                outcomes.append(engine.submit(Request("company0", None, [9], 2)).result(60))
            except EngineClosed as error:
                outcomes.append(error)
                return

    threads = [threading.Thread(target=caller) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    engine.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert sum(isinstance(outcome, EngineClosed) for outcome in outcomes) == len(threads)
