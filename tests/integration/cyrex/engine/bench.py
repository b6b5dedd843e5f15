"""An engine without its thread, played step by step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from cyrex.engine import AdapterRef, EngineConfig, Handle, Request
from cyrex.engine.adapters import AdapterPool
from cyrex.engine.arena import Arena
from cyrex.engine.config import MIB
from cyrex.engine.lora import Planner
from cyrex.engine.model import LanguageModel
from cyrex.engine.prefix import PrefixCache
from cyrex.engine.runner import Runner
from cyrex.engine.scheduler import Batch, Scheduler
from cyrex.engine.sequence import TokenSequence

SLOTS = 4


class Bench:
    def __init__(self, base: Path, room: int = 4, **options: Any) -> None:
        """`room`: adapters that fit."""
        config = EngineConfig(str(base), **{"max_batch": SLOTS, "prefix_cache_bytes": 0, **options})
        self.model = LanguageModel(config)
        arena = Arena(MIB, torch.float32, self.model.device)
        self.pool = AdapterPool(self.model.places, room, arena, lambda: None)
        prefix = PrefixCache(self.model.cache, config.prefix_cache_bytes)
        self.scheduler = Scheduler(config, self.model.cache, self.pool, prefix)
        planner = Planner(self.pool, self.model.device)
        self.runner = Runner(self.model, planner, prefix)
        self.served: Counter[str] = Counter()

    def add(self, company: str, ref: AdapterRef | None = None, **options: Any) -> TokenSequence:
        length = options.pop("length", 4)
        request = Request(company, ref, [9] * length, options.pop("tokens", 20), **options)
        row = TokenSequence(Handle(request), self.model)
        self.scheduler.add(row)
        return row

    def play(self, steps: int) -> list[Batch]:
        played = []
        with torch.inference_mode():
            for _ in range(steps):
                step = self.scheduler.schedule()
                if step is None:
                    break
                rows = self.runner.run(step)
                self.served.update(row.handle.request.company for row in rows)
                self.scheduler.charge(rows)
                self.scheduler.retire()
                played.append(step)
        return played

    def running(self) -> list[TokenSequence]:
        return self.scheduler.running
