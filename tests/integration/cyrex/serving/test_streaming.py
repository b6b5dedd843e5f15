"""Streams through the child process: pieces in order, one message a step, ends of every kind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrex.engine import (
    AdapterRef,
    Cancelled,
    DeadlineExceeded,
    Delta,
    EngineConfig,
    Request,
    Sampling,
)
from cyrex.serving import EngineDied, EngineProcess

PROMPT = list(range(10, 30))
LONG = 130
SAMPLED = Sampling(temperature=1.0, seed=3, top_logprobs=2)


class Steps:
    """What was said between two steps' ends: a list for each step."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = [[]]

    def end(self) -> None:
        if self.rows[-1]:
            self.rows.append([])


@pytest.fixture(scope="module")
def steps() -> Steps:
    return Steps()


@pytest.fixture(scope="module")
def engine(base: Path, steps: Steps) -> Iterator[EngineProcess]:
    engine = EngineProcess(EngineConfig(str(base), max_batch=16), on_step=steps.end)
    engine.wait_ready(120)
    yield engine
    engine.close()


def test_pieces_make_the_answer(engine: EngineProcess, adapters: list[AdapterRef]) -> None:
    for adapter in (None, adapters[0]):
        company = adapter.company if adapter else "company0"
        streamed = engine.submit(Request(company, adapter, PROMPT, 40, SAMPLED, stream=True))
        pieces = list(streamed.deltas(30))
        whole = engine.submit(Request(company, adapter, PROMPT, 40, SAMPLED)).result(30)
        assert "".join(piece.text for piece in pieces) == whole.text
        assert [token for piece in pieces for token in piece.tokens] == whole.tokens
        assert [logprob for piece in pieces for logprob in piece.logprobs] == pytest.approx(
            whole.logprobs, abs=1e-4
        )
        assert [len(place) for piece in pieces for place in piece.top] == [2] * len(whole.tokens)
        assert len(pieces) > 1


def test_the_rows_of_a_step_come_together(engine: EngineProcess, steps: Steps) -> None:
    del steps.rows[:-1]
    handles = [
        engine.submit(Request("company0", None, [*PROMPT, n], 60, stream=True)) for n in range(8)
    ]

    def listen(number: int) -> None:
        handles[number].subscribe(lambda _delta: steps.rows[-1].append(number))

    for number in range(len(handles)):
        listen(number)
    for handle in handles:
        handle.result(30)
    together = [step for step in steps.rows if len(step) > 1]
    assert len(together) > len(steps.rows) / 2


def test_a_cancel_stops_the_stream_within_a_few_steps(engine: EngineProcess) -> None:
    """The tiny model's steps take about a millisecond: the cancel crosses two sockets meanwhile."""
    seen: list[Delta] = []
    handle = engine.submit(Request("company0", None, PROMPT, LONG, SAMPLED, stream=True))
    for delta in handle.deltas(30):
        seen.append(delta)
        break
    handle.cancel()
    with pytest.raises(Cancelled):
        handle.result(10)
    stats = engine.stats()
    assert stats is not None
    assert (stats.waiting, stats.running, stats.kv_tokens) == (0, 0, 0)


def test_stats_tell_what_the_engine_holds(
    engine: EngineProcess, adapters: list[AdapterRef]
) -> None:
    before = engine.stats()
    engine.submit(Request("company0", adapters[0], PROMPT, 8)).result(30)
    after = engine.stats()
    assert before is not None
    assert after is not None
    assert after.slots == 16
    assert after.steps > before.steps
    assert after.generated_tokens > before.generated_tokens
    assert after.adapters == len(engine.resident())
    assert 0 < after.adapter_bytes <= after.adapter_budget


def test_a_child_that_dies_ends_the_stream_and_the_next_one_works(engine: EngineProcess) -> None:
    handle = engine.submit(Request("company0", None, PROMPT, LONG, SAMPLED, stream=True))
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # or it would be done before it is killed
    try:
        waiting = threading.Timer(0.1, os.kill, (pid, signal.SIGKILL))
        waiting.start()
        with pytest.raises(EngineDied):
            for _ in handle.deltas(30):
                pass
    finally:
        waiting.join()
    again = engine.submit(Request("company0", None, PROMPT, 8, stream=True))
    assert len(list(again.deltas(60))) >= 1


def test_a_deadline_holds_while_no_engine_is_ready(base: Path) -> None:
    engine = EngineProcess(EngineConfig(str(base)))
    try:
        request = Request("company0", None, PROMPT, 8, deadline=time.monotonic() + 0.1)
        with pytest.raises(DeadlineExceeded):
            engine.submit(request).result(5)
    finally:
        engine.close(0)
