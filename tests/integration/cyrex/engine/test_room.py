"""While adapters wait for room in memory: who goes on, and who is next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyrex.engine import AdapterRef, EngineClosed
from cyrex.engine.kv import NO_SLOT
from cyrex.engine.sequence import TokenSequence
from tests.integration.cyrex.engine.bench import Bench


@pytest.fixture
def narrow(base: Path) -> Iterator[Bench]:
    """Room for one adapter."""
    bench = Bench(base, room=1)
    yield bench
    bench.scheduler.fail_all(EngineClosed("over"))
    bench.pool.close()


def wait_for(holds: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.001)


def fill(
    bench: Bench, first: AdapterRef, second: AdapterRef
) -> tuple[TokenSequence, TokenSequence]:
    """A row with the only adapter that fits, and one whose adapter waits for that room."""
    running = bench.add(first.company, first, tokens=60)
    bench.play(1)
    wait_for(lambda: bench.pool.holds(first.key))
    bench.play(1)
    waiting = bench.add(second.company, second)
    bench.play(1)
    wait_for(lambda: bench.pool.is_full)
    return running, waiting


def test_only_rows_that_need_room_wait_for_it(narrow: Bench, adapters: list[AdapterRef]) -> None:
    first, second, third = adapters[:3]
    running, waiting = fill(narrow, first, second)
    needy = narrow.add(third.company, third)
    free = narrow.add("free")
    steps = narrow.play(2)
    assert [row.handle.request.company for row in steps[0].sequences] == [first.company, "free"]
    assert free.tokens
    assert waiting.slot != NO_SLOT
    assert needy.slot == NO_SLOT
    # It stays the next one, though other companies' counters are as low by then.
    running.handle.cancel()
    while not waiting.finished or not needy.finished:
        narrow.play(1)
        time.sleep(0.001)
    assert waiting.first_token_at < needy.first_token_at


def test_who_waits_for_room_is_not_overtaken_for_ever(
    narrow: Bench, adapters: list[AdapterRef]
) -> None:
    first, second = adapters[:2]
    running, waiting = fill(narrow, first, second)
    # More of the same adapter, which would hold the room as long as they come.
    more = [narrow.add(first.company, first, tokens=10) for _ in range(200)]
    narrow.play(1)
    assert narrow.pool.is_full
    while not waiting.finished:
        narrow.play(1)
        time.sleep(0.001)
    assert running.finished
    assert sum(row.finished for row in more) < 20


def test_a_loaded_adapter_serves_a_company_that_got_less(
    narrow: Bench, adapters: list[AdapterRef]
) -> None:
    first, second = adapters[:2]
    _, waiting = fill(narrow, first, second)
    narrow.scheduler.charge([waiting] * 100)  # As if it had had much already.
    more = narrow.add(first.company, first, tokens=3)
    narrow.play(4)
    assert more.finished
    assert not waiting.tokens
