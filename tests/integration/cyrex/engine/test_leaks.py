"""After any number of cancels, deadlines, refusals and broken steps, everything is free again."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrex.engine import (
    AdapterRef,
    Completion,
    EngineConfig,
    EngineError,
    Grammar,
    Handle,
    Request,
    Sampling,
)
from cyrex.engine.loop import Engine
from tests.integration.cyrex.engine.idle import assert_idle

ROWS = 80
MAX_BATCH = 6
KV_TOKENS = 600


def random_request(chance: random.Random, adapters: list[AdapterRef | None]) -> Request:
    adapter = chance.choice(adapters)
    company = adapter.company if adapter else chance.choice(["company0", "company1"])
    late = time.monotonic() + chance.uniform(0, 0.1) if chance.random() < 0.2 else None
    return Request(
        company,
        adapter,
        [chance.randrange(4, 260) for _ in range(chance.choice([1, 9, 70]))],
        chance.choice([1, 10, 60]),
        Sampling(temperature=chance.choice([0.0, 1.0]), seed=1),
        stop=("e",) if chance.random() < 0.2 else (),
        deadline=late,
        grammar=Grammar.choices(["a", "bc"]) if chance.random() < 0.2 else None,
        stream=chance.random() < 0.3,
    )


def chaos(
    engine: Engine, chance: random.Random, adapters: list[AdapterRef | None]
) -> list[Completion | EngineError]:
    """Many requests, sent and cancelled by two threads at random; what became of them."""
    handles: list[Handle] = []
    stop = threading.Event()

    def cancel() -> None:
        own = random.Random(chance.random())
        while not stop.is_set():
            if handles:
                own.choice(handles).cancel()
            time.sleep(0.004)

    thread = threading.Thread(target=cancel)
    thread.start()
    for _ in range(ROWS):
        handles.append(engine.submit(random_request(chance, adapters)))
        time.sleep(chance.choice([0, 0, 0.002]))
    found = []
    for handle in handles:
        try:
            found.append(handle.result(60))
        except EngineError as error:
            found.append(error)
    stop.set()
    thread.join()
    return found


def assert_all_of_it_works(engine: Engine, adapters: list[AdapterRef]) -> None:
    """Every slot, the whole KV budget and every adapter's place can be had again."""
    running: list[int] = []
    all_sent = threading.Event()

    def look(_: object) -> None:
        # The loop hands out the first token, and waits: it must not be through with the first
        # request before the last one is sent, however busy the machine is.
        if threading.current_thread() is not threading.main_thread():
            all_sent.wait(60)
        running.append(engine.stats().running)

    handles = []
    for i in range(MAX_BATCH):
        handles.append(engine.submit(Request("c", None, [9 + i], 60, stream=True)))
        handles[-1].subscribe(look)
    all_sent.set()
    for handle in handles:
        handle.result(60)
    assert max(running) == MAX_BATCH
    for adapter in adapters:
        assert engine.warm(adapter, 60)
    assert_idle(engine)


@pytest.fixture
def small(base: Path) -> Iterator[Engine]:
    engine = Engine(
        EngineConfig(
            str(base),
            device="cpu",
            max_batch=MAX_BATCH,
            kv_tokens=KV_TOKENS,
            max_adapters=2,
            prefill_chunk=16,
            prefix_cache_bytes=100_000,
        )
    )
    yield engine
    engine.close()


@pytest.mark.parametrize("seed", range(3))
def test_cancels_deadlines_and_refusals_leave_nothing_behind(
    small: Engine, adapters: list[AdapterRef], seed: int
) -> None:
    broken = AdapterRef("company0", "gone", "0" * 64, "/nowhere", "0" * 64)
    found = chaos(small, random.Random(seed), [None, broken, *adapters])
    kinds = {type(outcome).__name__ for outcome in found}
    assert {"Completion", "Cancelled", "AdapterRefused"} <= kinds
    assert kinds <= {"Completion", "Cancelled", "AdapterRefused", "DeadlineExceeded"}
    assert_idle(small)
    assert broken.key not in [adapter.key for adapter in small.resident()]
    assert_all_of_it_works(small, adapters)


@pytest.mark.parametrize("seed", range(3))
def test_steps_that_break_leave_nothing_behind(
    small: Engine, adapters: list[AdapterRef], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    module = small.model.module
    forward = module.forward

    def breaking(*given: object, **options: object) -> object:
        if chance.random() < 0.1:
            raise RuntimeError("out of memory")
        return forward(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "forward", breaking)
        found = chaos(small, random.Random(seed), [None, *adapters])
    kinds = {type(outcome).__name__ for outcome in found}
    assert {"Completion", "GenerationFailed"} <= kinds
    assert_idle(small)
    assert_all_of_it_works(small, adapters)


def test_a_broken_step_does_not_change_what_others_get(
    small: Engine, adapters: list[AdapterRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [
        Request(ref.company, ref, [30 + i, 8, 9], 40)
        for i, ref in enumerate(adapters)
        for _ in "ab"
    ]
    expected = [small.submit(request).result(60) for request in requests]
    chance = random.Random(8)
    module = small.model.module
    forward = module.forward

    def breaking(*given: object, **options: object) -> object:
        if chance.random() < 0.03:
            raise RuntimeError("out of memory")
        return forward(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "forward", breaking)
        handles = [small.submit(request) for request in requests * 3]
        answered = 0
        for handle, completion in zip(handles, expected * 3, strict=True):
            try:
                assert handle.result(60).tokens == completion.tokens
                answered += 1
            except EngineError:
                pass
    assert answered > 0
    assert_idle(small)


def test_a_close_in_the_middle_answers_everybody(base: Path, adapters: list[AdapterRef]) -> None:
    for seed in range(4):
        chance = random.Random(seed)
        engine = Engine(EngineConfig(str(base), device="cpu", max_batch=MAX_BATCH, max_adapters=2))
        handles = [engine.submit(random_request(chance, [None, *adapters])) for _ in range(ROWS)]
        time.sleep(chance.uniform(0, 0.2))
        engine.close(chance.choice([0.0, 0.05]))
        assert all(handle.done() for handle in handles)


def test_answered_requests_with_far_deadlines_are_forgotten(base: Path) -> None:
    """While the engine never comes to rest, as on a busy machine."""
    engine = Engine(EngineConfig(str(base), device="cpu", max_batch=32))
    stop = threading.Event()

    letters = Grammar.lark("start: /[a-z]{50}/")

    def keep_busy() -> None:
        running: list[Handle] = []
        while not stop.is_set():
            # One more before the oldest has ended: there is always something to do.
            running.append(engine.submit(Request("busy", None, [9, 8], 60, grammar=letters)))
            if len(running) > 2:
                running.pop(0).result(60)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    far = time.monotonic() + 3600
    for i in range(100):
        handles = [engine.submit(Request("c", None, [9, i], 1, deadline=far)) for _ in range(20)]
        for handle in handles:
            handle.result(60)
    del handle, handles
    gc.collect()
    # Some may wait to be cleared away, but not for their deadlines.
    held = [o for o in gc.get_objects() if type(o) is Handle and o.request.deadline == far]
    stop.set()
    busy.join()
    engine.close()
    assert len(held) < 500
