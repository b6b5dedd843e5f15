"""What breaks ends alone, and the loop goes on."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cyrex.engine import (
    AdapterRef,
    Cancelled,
    DeadlineExceeded,
    EngineClosed,
    EngineConfig,
    EngineError,
    GenerationFailed,
    Request,
)
from cyrex.engine.loop import Engine
from tests.support.engine_requests import PROMPT, ask
from tests.support.tiny import edit_weights, ref_of


def test_a_deadline_may_be_as_late_as_can_be(
    engine: Engine, make_adapter: Callable[..., AdapterRef], tmp_path: Path
) -> None:
    """The loop waits for an adapter of which nothing is there yet."""
    for number, deadline in enumerate((math.inf, 1e300)):
        ref = make_adapter(tmp_path / str(number), "acme", f"late{number}", seed=51)
        handle = engine.submit(Request("acme", ref, PROMPT, 8, deadline=deadline))
        assert handle.result(60).tokens


def test_numbers_that_overflow_fail_their_rows_alone(
    engine: Engine, make_adapter: Callable[..., AdapterRef], tmp_path: Path
) -> None:
    folder = Path(make_adapter(tmp_path / "a", "acme", "a", seed=41).path)

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for tensor in tensors.values():
            tensor.mul_(1e30)

    edit_weights(folder, edit)
    with pytest.raises(GenerationFailed, match="not finite"):
        ask(engine, ref_of(folder, "acme", "a"))
    assert isinstance(ask(engine), str)


def test_a_deadline_ends_what_waits_and_what_runs(engine: Engine) -> None:
    late = Request("company0", None, PROMPT, 100, deadline=time.monotonic() - 0.001)
    with pytest.raises(DeadlineExceeded, match="0 tokens"):
        engine.submit(late).result(60)
    handles = [
        engine.submit(Request("company0", None, [40 + i], 150, deadline=time.monotonic() + 0.03))
        for i in range(30)
    ]
    outcomes = []
    for handle in handles:
        try:
            outcomes.append(handle.result(60))
        except DeadlineExceeded as error:
            outcomes.append(error)
    assert any(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)


def test_cancelled_rows_leave_and_the_others_stay(engine: Engine) -> None:
    requests = [Request("company0", None, [60 + i], 60) for i in range(24)]
    expected = [engine.submit(request).result(60).tokens for request in requests]
    handles = [engine.submit(request) for request in requests]
    for handle in handles[::3]:
        handle.cancel()
    for i, handle in enumerate(handles):
        try:
            assert handle.result(60).tokens == expected[i]
        except Cancelled:
            assert i % 3 == 0
    assert any(isinstance(handle.outcome(), Cancelled) for handle in handles)


def test_random_cancels_and_deadlines_leave_nothing_behind(
    engine: Engine, adapters: list[AdapterRef]
) -> None:
    chance = random.Random(5)
    handles = []
    for i in range(80):
        adapter = chance.choice([None, *adapters])
        company = adapter.company if adapter else "company0"
        soon = time.monotonic() + chance.choice([0.001, 0.05, 60])
        request = Request(
            company, adapter, [5 + i, 6, 7], chance.choice([1, 20, 60]), deadline=soon
        )
        handles.append(engine.submit(request))
        if chance.random() < 0.3:
            chance.choice(handles).cancel()
    for handle in handles:
        try:
            handle.result(60)
        except EngineError as error:
            assert isinstance(error, Cancelled | DeadlineExceeded)
    engine.ping().result(60)  # The loop has seen the end of the last row.
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.kv_tokens) == (0, 0, 0)
    assert engine.model.cache.is_empty
    assert engine._pool.pins == 0


def test_a_prompt_whose_beginning_cannot_be_kept_is_answered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ask(engine, prompt=[70, *PROMPT])

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(type(engine.model.cache), "read", full)
    assert ask(engine, prompt=[71, *PROMPT]) and ask(engine, prompt=[70, *PROMPT]) == expected


def test_an_engine_whose_gpu_answers_errors_alone_ends(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process has a GPU that works."""
    stopped = threading.Event()
    engine = Engine(EngineConfig(str(base)), on_stopped=stopped.set)

    def broken(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(type(engine.model), "forward", broken)
    with pytest.raises(GenerationFailed, match="CUDA error"):
        ask(engine)
    assert not stopped.is_set()
    engine.model.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    with pytest.raises(GenerationFailed, match="CUDA error"):
        ask(engine)
    assert stopped.wait(10)
    with pytest.raises(EngineClosed):
        ask(engine)
