"""What an engine that has nothing to do must look like."""

from __future__ import annotations

import time

from cyrex.engine import EngineStats
from cyrex.engine.loop import Engine

TIMEOUT_SECONDS = 60


def assert_idle(engine: Engine) -> EngineStats:
    """Nothing waits, runs or holds memory that only running rows may hold."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        engine.ping().result(TIMEOUT_SECONDS)
        stats = engine.stats()
        if stats.waiting == stats.running == stats.kv_tokens == 0:
            break
        assert time.monotonic() < deadline, stats
        time.sleep(0.002)
    loaded = engine.resident()
    assert stats.adapters == len(loaded)
    assert stats.adapter_bytes == sum(adapter.bytes for adapter in loaded)
    assert stats.adapter_bytes <= stats.adapter_budget == engine.config.max_adapter_bytes
    assert stats.adapters <= engine.config.max_adapters
    assert stats.prefix_bytes <= engine.config.prefix_cache_bytes
    return stats
