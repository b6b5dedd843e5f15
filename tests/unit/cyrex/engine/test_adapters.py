"""Adapters come, stay while they are used, and leave nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cyrex.engine import AdapterRefused, EngineClosed
from cyrex.engine.adapter_file import Staging, read
from cyrex.engine.adapters import AdapterPool
from cyrex.engine.arena import Arena
from tests.unit.cyrex.engine.lora_files import PLACES, ref, tensors_of, write

RANK_4_BYTES = 4 * 4 * (12 + 20 + 20 + 12)

MakePool = Callable[..., AdapterPool]


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    pools = []

    def make(adapters: int = 8, size: int = 64 * RANK_4_BYTES) -> AdapterPool:
        arena = Arena(size, torch.float32, torch.device("cpu"))
        pools.append(AdapterPool(PLACES, adapters, arena, lambda: None))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def load(pool: AdapterPool, folder: Path, rank: int = 4, seed: int = 0) -> str:
    """Write an adapter, load it and let go of it; returns its id."""
    adapter = pool.acquire(write(folder, rank, seed))
    adapter.done.result(10)
    pool.release(adapter)
    return adapter.ref.adapter_id


def ids(pool: AdapterPool) -> list[str]:
    return [resident.key.adapter_id for resident in pool.resident()]


def test_the_matrices_are_where_the_tables_say(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    folder = tmp_path / "a"
    adapter = pool.acquire(write(folder, rank=6, modules=("down",), use_rslora=True))
    adapter.done.result(10)
    tensors = tensors_of(6, 0, ("down",))
    a_at, b_at = pool.a_at[1, adapter.index], pool.b_at[1, adapter.index]
    assert pool.ranks[:, adapter.index].tolist() == [0, 8]  # Padded to a multiple of four.
    a = pool.arena.memory[a_at : a_at + 8 * 20].view(8, 20)
    b = pool.arena.memory[b_at : b_at + 8 * 12].view(8, 12)
    assert torch.equal(a[:6], tensors["base_model.model.down.lora_A.weight"])
    up = tensors["base_model.model.down.lora_B.weight"]
    assert torch.allclose(b[:6], up.T * 12 / 6**0.5)
    assert not a[6:].any()
    assert not b[6:].any()
    assert pool.ranks[:, pool.none].tolist() == [0, 0]
    pool.release(adapter)


def test_a_rank_beyond_the_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match="down: rank 516, which must be from 1 to 512"):
        read(write(tmp_path / "a", rank=516), PLACES, Staging())


def test_memory_is_counted_in_bytes_not_in_adapters(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    load(pool, tmp_path / "four", 4)
    load(pool, tmp_path / "eight", 8)
    assert [r.bytes for r in pool.resident()] == [RANK_4_BYTES, 2 * RANK_4_BYTES]
    assert pool.arena.used_bytes == 3 * RANK_4_BYTES


@pytest.mark.parametrize(("adapters", "room"), [(2, 64), (8, 2)])
def test_the_least_recently_used_leaves(
    make_pool: MakePool, tmp_path: Path, adapters: int, room: int
) -> None:
    pool = make_pool(adapters, room * RANK_4_BYTES)
    load(pool, tmp_path / "a")
    load(pool, tmp_path / "b")
    again = pool.acquire(ref(tmp_path / "a"))
    assert again.is_ready
    pool.release(again)
    load(pool, tmp_path / "c")
    assert ids(pool) == ["a", "c"]
    assert (pool.loads, pool.evictions) == (3, 1)


def test_what_is_in_use_stays_and_others_wait_for_it(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(size=2 * RANK_4_BYTES)
    used = pool.acquire(write(tmp_path / "used"))
    used.done.result(10)
    weights = [view.clone() for views in used.views.values() for view in views]
    load(pool, tmp_path / "idle")
    large = pool.acquire(write(tmp_path / "large", rank=8))
    while not pool.is_full:
        time.sleep(0.001)
    assert not large.done.done()
    views = [view for views in used.views.values() for view in views]
    assert all(torch.equal(old, new) for old, new in zip(weights, views, strict=True))
    pool.release(used)
    large.done.result(10)
    assert ids(pool) == ["large"]
    assert not pool.is_full
    pool.release(large)
    assert pool.pins == 0


def test_what_is_larger_than_the_budget_is_refused(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(size=2 * RANK_4_BYTES)
    load(pool, tmp_path / "a")
    with pytest.raises(AdapterRefused, match="exceed the budget"):
        load(pool, tmp_path / "b", rank=12)
    assert ids(pool) == ["a"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_refused_adapter_leaves_nothing_behind(
    make_pool: MakePool, tmp_path: Path, bad: float
) -> None:
    pool = make_pool(adapters=1)
    for i in range(3):
        folder = tmp_path / str(i)
        write(folder)
        tensors = tensors_of(4, 0)
        next(iter(tensors.values()))[2, 3] = bad
        save_file(tensors, folder / "adapter_model.safetensors")
        adapter = pool.acquire(ref(folder))
        assert isinstance(adapter.done.exception(10), AdapterRefused)
        pool.release(adapter)
    assert (pool.arena.used_bytes, pool.pins, ids(pool)) == (0, 0, [])
    load(pool, tmp_path / "good")


def test_a_refused_adapter_is_read_anew_the_next_time(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    good = write(tmp_path / "a")
    weights = tmp_path / "a" / "adapter_model.safetensors"
    weights.rename(tmp_path / "away")
    adapter = pool.acquire(good)
    assert isinstance(adapter.done.exception(10), AdapterRefused)
    pool.release(adapter)
    (tmp_path / "away").rename(weights)
    again = pool.acquire(good)
    again.done.result(10)
    pool.release(again)


def test_many_threads_load_and_evict(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(size=3 * RANK_4_BYTES)
    refs = [write(tmp_path / str(i), seed=i) for i in range(8)]
    wrong: list[str] = []

    def caller(number: int) -> None:
        for i in range(20):
            chosen = refs[(number * 3 + i * 5) % len(refs)]
            adapter = pool.acquire(chosen)
            adapter.done.result(20)
            expected = {pair.place.index: pair.down for pair in read(chosen, PLACES, Staging())}
            if not all(torch.equal(adapter.views[i][0], expected[i]) for i in expected):
                wrong.append(chosen.adapter_id)
            pool.release(adapter)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert pool.pins == 0
    assert pool.evictions > 0
    assert pool.arena.used_bytes == sum(resident.bytes for resident in pool.resident())


def test_closing_refuses_what_is_not_loaded(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(adapters=1)
    held = pool.acquire(write(tmp_path / "a"))
    held.done.result(10)
    waiting = [pool.acquire(write(tmp_path / name)) for name in "bc"]
    while not pool.is_full:
        time.sleep(0.001)
    pool.close()
    for adapter in waiting:
        assert isinstance(adapter.done.exception(10), EngineClosed)
    with pytest.raises(EngineClosed):
        pool.acquire(ref(tmp_path / "a"))
