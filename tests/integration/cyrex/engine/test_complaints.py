"""What users of other engines that serve many adapters complain about, and that must not be here.

Each test names the complaint and where it was made.
"""

from __future__ import annotations

import itertools
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyrex.engine import AdapterRef, EngineConfig, Request, RequestRefused
from cyrex.engine.loop import Engine
from tests.integration.cyrex.engine.idle import assert_idle

PROMPT = list(range(20, 60))
Make = Callable[..., AdapterRef]


@pytest.fixture
def start(base: Path) -> Iterator[Callable[..., Engine]]:
    """`start(**config)` is an engine that is closed at the end."""
    started: list[Engine] = []

    def make(on_step: Callable[[], None] | None = None, **config: int) -> Engine:
        started.append(Engine(EngineConfig(str(base), device="cpu", **config), on_step=on_step))
        return started[-1]

    yield make
    for engine in started:
        engine.close()


@pytest.fixture(scope="module")
def many(
    base: Path, make_adapter: Make, tmp_path_factory: pytest.TempPathFactory
) -> list[AdapterRef]:
    """Sixteen adapters of sixteen companies."""
    folder = tmp_path_factory.mktemp("many")
    return [make_adapter(folder / str(i), f"c{i}", f"a{i}", seed=500 + i) for i in range(16)]


def ask(
    engine: Engine, adapter: AdapterRef | None, tokens: int = 12, company: str = "c"
) -> list[int]:
    company = adapter.company if adapter else company
    return engine.submit(Request(company, adapter, PROMPT, tokens)).result(60).tokens


def test_lora_tax_on_base_only_traffic(
    start: Callable[..., Engine], many: list[AdapterRef]
) -> None:
    """vLLM #10898: once LoRA is on, rows without an adapter are slower too."""

    def step_seconds(engine: Engine, times: list[float]) -> float:
        times.clear()
        handles = [engine.submit(Request("c", None, [30 + i], 100)) for i in range(8)]
        for handle in handles:
            handle.result(60)
        return statistics.median(b - a for a, b in itertools.pairwise(times))

    bare_times: list[float] = []
    full_times: list[float] = []
    # CPU time of the loop's own thread: what other processes do is not in it.
    bare = start(lambda: bare_times.append(time.thread_time()), max_batch=8)
    full = start(lambda: full_times.append(time.thread_time()), max_batch=8)
    for adapter in many:
        assert full.warm(adapter)
    ask(full, many[0])
    ratios = [step_seconds(full, full_times) / step_seconds(bare, bare_times) for _ in range(9)]
    assert statistics.median(ratios) < 1.15


def test_adapters_loaded_at_run_time_are_lost_at_a_restart(
    start: Callable[..., Engine], many: list[AdapterRef]
) -> None:
    """vLLM RFC #12174. Here every request says where its adapter is, so no one has to load it."""
    before = ask(start(), many[0])
    restarted = start()
    assert restarted.resident() == []
    assert ask(restarted, many[0]) == before
    assert [adapter.key for adapter in restarted.resident()] == [many[0].key]


def test_stale_kv_after_a_reload_under_the_same_name(
    start: Callable[..., Engine], make_adapter: Make, tmp_path: Path
) -> None:
    """vLLM #42125, #44701; llama.cpp #26207: the old adapter's cached prompt meets the new one."""
    old, new = (make_adapter(tmp_path / str(s), "acme", "support", seed=s) for s in (91, 92))
    expected = ask(start(prefix_cache_bytes=0), new)
    engine = start()
    assert ask(engine, old) == ask(engine, old) != expected
    completion = engine.submit(Request("acme", new, PROMPT, 12)).result(60)
    assert completion.cached_tokens == 0
    assert completion.tokens == expected
    assert ask(engine, new) == expected


def test_prefix_timing_leak_between_tenants(
    start: Callable[..., Engine], many: list[AdapterRef]
) -> None:
    """CVE-2025-46570: a cache hit tells one tenant what another has asked."""
    engine = start()

    def cached(company: str, adapter: AdapterRef | None) -> int:
        request = Request(company, adapter, PROMPT, 2)
        return engine.submit(request).result(60).cached_tokens

    assert cached("acme", None) == 0
    assert cached("acme", None) > 0
    hits = engine.stats().prefix_hits
    assert cached("bolt", None) == 0
    assert cached(many[0].company, many[0]) == 0
    assert cached(many[1].company, many[1]) == 0
    assert cached(many[0].company, None) == 0
    assert engine.stats().prefix_hits == hits


def test_requests_starve(start: Callable[..., Engine], many: list[AdapterRef]) -> None:
    """vLLM #16876, SGLang #15129: one busy tenant, and the others never get a turn."""
    engine = start(max_batch=4)
    order: list[str] = []
    handles = []

    def send(adapter: AdapterRef, number: int) -> None:
        request = Request(adapter.company, adapter, [30 + number % 200, 7], 20)
        handles.append(engine.submit(request))
        handles[-1].add_done_callback(lambda h: order.append(h.request.company))

    for number in range(120):
        send(many[0], number)
    for number in range(24):
        send(many[1 + number % 3], number)
    for handle in handles:
        handle.result(120)
    last = max(i for i, company in enumerate(order) if company != many[0].company)
    # Four companies share: when the three small ones' 24 are done, the busy one has about 8.
    assert order[: last + 1].count(many[0].company) <= 30


def test_thrashing_slots(start: Callable[..., Engine], many: list[AdapterRef]) -> None:
    """SGLang #13349: with twice as many adapters as slots the median wait grew 150-fold."""
    engine = start(max_batch=16, max_adapters=8)
    handles = [
        engine.submit(Request(adapter.company, adapter, [30 + turn, 7], 10))
        for turn in range(8)
        for adapter in many
    ]
    for handle in handles:
        handle.result(120)
    # An adapter a request would be 128; none twice would be 16.
    assert engine.stats().adapter_loads <= 64
    assert_idle(engine)


def test_loading_blocks_serving(
    start: Callable[..., Engine], make_adapter: Make, tmp_path: Path
) -> None:
    """SGLang #8162. The adapter's configuration is a pipe here, which nobody writes to for now."""
    ref = make_adapter(tmp_path / "slow", "acme", "slow", seed=93)
    config = Path(ref.path) / "adapter_config.json"
    text = config.read_bytes()
    config.unlink()
    os.mkfifo(config)
    engine = start()
    slow = engine.submit(Request("acme", ref, PROMPT, 5))
    try:
        for _ in range(3):
            assert len(ask(engine, None)) > 0
        assert not slow.done()
    finally:
        writer = threading.Thread(target=lambda: config.write_bytes(text), daemon=True)
        writer.start()
    assert slow.result(60).sha256 == ref.sha256
    writer.join(60)


def test_the_memory_budget_is_a_count_and_not_bytes(
    start: Callable[..., Engine], make_adapter: Make, tmp_path: Path
) -> None:
    """LoRAX #53, vLLM #29049: so many adapters, be they of rank 1 or 64."""
    thin = [make_adapter(tmp_path / f"t{i}", "acme", f"t{i}", seed=i, r=1) for i in range(4)]
    wide = [make_adapter(tmp_path / f"w{i}", "acme", f"w{i}", seed=i, r=16) for i in range(2)]
    size_of = Path(wide[0].path, "adapter_model.safetensors").stat().st_size
    engine = start(max_adapter_bytes=size_of * 5 // 4)
    for ref in thin:
        assert engine.warm(ref)
    assert len(engine.resident()) == len(thin)
    for ref in wide:
        assert engine.warm(ref)
        assert ref.key in [adapter.key for adapter in engine.resident()]
    assert wide[0].key not in [adapter.key for adapter in engine.resident()]
    assert_idle(engine)


def test_nobody_can_see_what_is_resident(
    start: Callable[..., Engine], many: list[AdapterRef]
) -> None:
    """vLLM #45325."""
    engine = start(max_adapters=4)
    for ref in many[:6]:
        ask(engine, ref)
    assert [adapter.key for adapter in engine.resident()] == [ref.key for ref in many[2:6]]
    assert all(adapter.bytes > 0 for adapter in engine.resident())
    stats = engine.stats()
    assert (stats.adapters, stats.adapter_loads, stats.adapter_evictions) == (4, 6, 2)


def test_anybody_can_load_an_adapter(many: list[AdapterRef]) -> None:
    """SGLang #26789: an adapter's name is the key to it. Here it belongs to a company."""
    with pytest.raises(RequestRefused, match="another company"):
        Request("intruder", many[0], PROMPT)
