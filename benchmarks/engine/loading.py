"""Time to load an adapter from disk, and the delay of running rows by it."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.engine.arms import BATCH, TIMEOUT_SECONDS, Arm, Clock, request
from benchmarks.engine.models import Model
from cyrex.engine import AdapterRef

WEIGHTS = "adapter_model.safetensors"
ROOM = 64
LOADS = 9
STALLS = 3
# Steps of a wave: before a load begins, and until the wave ends.
ANSWER = 14
STEPS_BEFORE = 4
PAUSE_SECONDS = 0.05


def measure(model: Model, folder: Path, is_full: bool) -> dict[str, float]:
    """load_ms: from `load` on an engine idle for PAUSE_SECONDS until the adapter is served, without
    the file in the page cache. load_stall_steps: the longest delay of running rows by a load, in
    steps."""
    arm = Arm(model, max_adapters=ROOM, max_adapter_bytes=ROOM * 2 * model.shape.adapter_bytes)
    loads, stalls = (3 * LOADS, 3 * STALLS) if is_full else (LOADS, STALLS)
    try:
        files = _copies(model, folder, loads + stalls + 1)
        _load(arm, files[-1])
        taken = [_load(arm, ref) for ref in files[:loads]]
        delays = [_stall(arm, ref) for ref in files[loads:-1]]
    finally:
        arm.close()
    megabytes = model.shape.adapter_bytes / 1e6
    print(
        f"{model.shape.name}: {megabytes:.1f} MB loaded in {1e3 * statistics.median(taken):.1f} ms "
        f"(worst {1e3 * max(taken):.1f}); steps late: {', '.join(f'{d:.2f}' for d in delays)}",
        flush=True,
    )
    return {
        "load_ms": round(1e3 * statistics.median(taken), 1),
        "load_stall_steps": round(max(delays), 2),
    }


def _copies(model: Model, folder: Path, count: int) -> list[AdapterRef]:
    """Write `count` adapters with a file each, and drop the files from the page cache."""
    refs = []
    for number in range(count):
        ref = model.adapter(1000 + number)
        path = folder / f"copy{number}"
        shutil.copytree(ref.path, path)
        with (path / WEIGHTS).open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        refs.append(replace(ref, path=str(path)))
    return refs


def _load(arm: Arm, ref: AdapterRef) -> float:
    time.sleep(PAUSE_SECONDS)
    started = Clock.now()
    arm.engine.load(ref).result(TIMEOUT_SECONDS)
    return Clock.now() - started


def _stall(arm: Arm, ref: AdapterRef) -> float:
    """Delay of a full batch's steps by one load, in median steps."""
    arm.engine.ping().result(TIMEOUT_SECONDS)
    arm.steps.clear()
    handles = [arm.engine.submit(request(None, 8, ANSWER)) for _ in range(BATCH)]
    while sum(step.stats.running == BATCH for step in list(arm.steps)) < STEPS_BEFORE:
        time.sleep(0.001)
    started = Clock.now()
    arm.engine.load(ref).result(TIMEOUT_SECONDS)
    ended = Clock.now()
    for handle in handles:
        handle.result(TIMEOUT_SECONDS)
    steps = [
        (a.at, b.at)
        for a, b in zip(arm.steps, arm.steps[1:], strict=False)
        if a.stats.running == b.stats.running == BATCH
        and a.stats.prompt_tokens == b.stats.prompt_tokens
    ]
    usual = statistics.median(b - a for a, b in steps)
    during = [b - a for a, b in steps if b > started and a < ended]
    return sum(max(0.0, seconds - usual) for seconds in during) / usual
