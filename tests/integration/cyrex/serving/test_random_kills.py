"""Engines that are killed again and again: callers who ask anew lose nothing."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from cyrex.engine import AdapterRef, Cancelled, EngineConfig, Request
from cyrex.serving import EngineDied, EngineProcess

CALLERS = 12
ANSWERS = 8
TOKENS = 40
# A child takes some seconds to start, most of them for importing torch.
PAUSE_SECONDS = (0.05, 0.4)


@pytest.mark.slow
def test_random_kills_and_cancels_lose_nothing(base: Path, adapters: list[AdapterRef]) -> None:
    engine = EngineProcess(EngineConfig(str(base), device="cpu", max_batch=6, max_adapters=2))
    engine.wait_ready(120)
    requests = [
        Request(ref.company if ref else "company0", ref, [30 + i, 7, 9], TOKENS)
        for i, ref in enumerate([None, *adapters])
    ]
    expected = [engine.submit(request).result(60).tokens for request in requests]
    wrong: list[int] = []
    ended: list[int] = []
    stop = threading.Event()

    def caller(number: int) -> None:
        chance = random.Random(number)
        left = ANSWERS
        while left:
            which = chance.randrange(len(requests))
            handle = engine.submit(requests[which])
            if chance.random() < 0.1:
                handle.cancel()
            try:
                tokens = handle.result(120).tokens
            except Cancelled:
                continue
            except EngineDied as error:
                assert error.retryable
                continue
            left -= 1
            if tokens != expected[which]:
                wrong.append(which)
        ended.append(number)

    def kill() -> None:
        chance = random.Random(0)
        for _ in range(3):
            if stop.wait(chance.uniform(*PAUSE_SECONDS)):
                return
            pid = engine.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            # The next one: a child that cannot even start is another matter.
            while (engine.pid in (None, pid) or not engine.ping()) and not stop.is_set():
                time.sleep(0.02)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
    killer = threading.Thread(target=kill)
    for thread in [*threads, killer]:
        thread.start()
    for thread in threads:
        thread.join(250)
    stop.set()
    killer.join(120)
    assert sorted(ended) == list(range(CALLERS))
    assert wrong == []
    deadline = time.monotonic() + 60
    while True:
        stats = engine.stats()
        if stats is not None and stats.running == stats.waiting == stats.kv_tokens == 0:
            break
        assert time.monotonic() < deadline, stats
        time.sleep(0.05)
    engine.close()
