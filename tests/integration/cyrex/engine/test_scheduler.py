"""Whose turn it is, step by step and without the loop's thread."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cyrex.engine import AdapterRef, Cancelled, DeadlineExceeded, EngineClosed, QueueFull
from cyrex.engine.config import MIB
from cyrex.engine.scheduler import SPARE_SEQUENCES
from cyrex.engine.sequence import TokenSequence
from tests.integration.cyrex.engine.bench import SLOTS, Bench


@pytest.fixture(scope="module")
def shared(base: Path) -> Iterator[Bench]:
    bench = Bench(base)
    yield bench
    bench.pool.close()


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    shared.served.clear()
    yield shared
    shared.scheduler.fail_all(EngineClosed("over"))
    assert shared.model.cache.is_empty
    assert shared.pool.pins == 0


def make(base: Path, **options: Any) -> Bench:
    bench = Bench(base, **options)
    bench.pool.close()
    return bench


def test_companies_take_turns_at_free_slots(bench: Bench) -> None:
    for company in ("a", "a", "a", "a", "b", "c"):
        bench.add(company)
    bench.play(1)
    assert sorted(row.handle.request.company for row in bench.running()) == ["a", "a", "b", "c"]


def test_a_flood_does_not_take_a_latecomers_share(bench: Bench) -> None:
    for _ in range(200):
        bench.add("flood", tokens=10)
    bench.play(30)
    before = bench.served.copy()
    for _ in range(100):
        bench.add("late", tokens=10)
    bench.play(200)
    given = bench.served - before
    assert given["late"] / given.total() == pytest.approx(0.5, abs=0.05)


def test_a_pause_is_not_saved_up(bench: Bench) -> None:
    first = bench.add("idle", tokens=1)
    bench.play(1)
    assert first.finished
    for _ in range(100):
        bench.add("busy", tokens=10)
    bench.play(100)
    before = bench.served.copy()
    for _ in range(100):
        bench.add("idle", tokens=10)
    bench.play(60)
    given = bench.served - before
    assert given["busy"] / given.total() > 0.35


def test_a_long_prompt_is_read_beside_those_that_decode(base: Path) -> None:
    bench = make(base, prefill_chunk=8)
    short = bench.add("a", tokens=60)
    bench.play(1)
    long = bench.add("b", length=41, tokens=5)
    steps = bench.play(6)
    assert all(step.decoding == [short] for step in steps)
    assert [step.prompts for step in steps] == [[(long, 8)]] * 5 + [[(long, 1)]]
    assert len(short.tokens) == 7
    assert len(long.tokens) == 1


def test_several_prompts_share_a_step(bench: Bench) -> None:
    rows = [bench.add("a", length=length) for length in (5, 9, 3)]
    (step,) = bench.play(1)
    assert step.prompts == [(rows[0], 5), (rows[1], 9), (rows[2], 3)]


def test_prompts_that_begin_alike_are_computed_once(base: Path) -> None:
    bench = make(base, prefix_cache_bytes=MIB, prefill_chunk=20)
    rows = [bench.add("a", length=40) for _ in range(3)]
    other = bench.add("b", length=40)
    bench.play(8)
    assert [row.cached for row in rows] == [0, 32, 32]
    assert other.cached == 0
    assert bench.runner.prompt_tokens == 40 + 8 + 8 + 40
    assert len({tuple(row.tokens[:4]) for row in (*rows, other)}) == 1


def test_a_full_cache_holds_up_everybody_until_the_next_row_fits(base: Path) -> None:
    bench = make(base, kv_tokens=100)
    bench.add("a", tokens=60)
    bench.play(1)
    large = bench.add("b", tokens=60)
    small = bench.add("c", tokens=4)
    while not small.tokens:
        assert bench.play(1)
        assert bench.scheduler.kv_tokens <= 100
    assert large.tokens


def test_a_row_above_the_budget_runs_alone(base: Path) -> None:
    bench = make(base, kv_tokens=10)
    rows = [bench.add(company, tokens=30) for company in ("a", "b")]
    for step in bench.play(100):
        assert len(step.sequences) == 1
    assert all(row.finished for row in rows)


def test_slots_are_never_exceeded(bench: Bench) -> None:
    for _ in range(10):
        bench.add("a", tokens=6)
    assert max(len(step.sequences) for step in bench.play(100)) == SLOTS
    assert not bench.scheduler.has_work()


def test_who_gave_up_while_waiting_never_starts(bench: Bench) -> None:
    rows = [bench.add("a") for _ in range(3)]
    rows[1].handle.cancel()
    bench.scheduler.drop(rows[1])
    late = bench.add("b", deadline=time.monotonic() - 1)
    assert bench.scheduler.waiting == 3
    (step,) = bench.play(1)
    assert step.sequences == [rows[0], rows[2]]
    with pytest.raises(Cancelled):
        rows[1].handle.result(0)
    with pytest.raises(DeadlineExceeded):
        late.handle.result(0)


def test_rows_that_have_ended_are_not_held(bench: Bench) -> None:
    bench.add("a", tokens=150)
    bench.add("b", tokens=150)
    bench.play(1)
    soon = time.monotonic() + 3600
    for _ in range(3 * SPARE_SEQUENCES):
        row = bench.add("a", tokens=1, deadline=soon)
        row.handle.cancel()
        bench.scheduler.drop(row)
    assert bench.scheduler.waiting == 0
    bench.add("a", tokens=1, deadline=soon)
    gc.collect()
    # By type, as isinstance asks proxies of others what they stand for.
    held = [o for o in gc.get_objects() if type(o) is TokenSequence and o.finished]
    assert len(held) <= 2 * SPARE_SEQUENCES + 8


def test_a_running_row_that_is_cancelled_leaves_at_once(bench: Bench) -> None:
    row, other = bench.add("a", tokens=100), bench.add("a", tokens=100)
    bench.play(3)
    row.handle.cancel()
    (step,) = bench.play(1)
    assert step.decoding == [other]
    assert bench.running() == [other]


def test_a_queue_has_a_limit_of_its_own_for_each_company(base: Path) -> None:
    bench = make(base, max_waiting=3)
    rows = [bench.add("a") for _ in range(5)]
    assert not bench.add("b").finished
    for row in rows[3:]:
        with pytest.raises(QueueFull, match="3 requests"):
            row.handle.result(0)
    bench.play(1)
    assert not bench.add("a").finished


def test_a_row_whose_adapter_is_not_there_yet_holds_up_nobody(
    bench: Bench, adapters: list[AdapterRef]
) -> None:
    ref = adapters[0]
    slow, free = bench.add(ref.company, ref), bench.add("other")
    first = bench.play(1)
    assert free in first[0].sequences
    assert slow.adapter is not None
    slow.adapter.done.result(10)
    bench.play(2)
    assert slow.tokens
