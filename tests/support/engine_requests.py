"""Short requests to an engine, and their answers."""

from __future__ import annotations

from cyrex.engine import (
    AdapterRef,
    Request,
)
from cyrex.engine.loop import Engine

PROMPT = list(range(20, 50))


def ask(engine: Engine, adapter: AdapterRef | None = None, prompt: list[int] | str = "hi") -> str:
    company = adapter.company if adapter else "company0"
    return engine.submit(Request(company, adapter, prompt, 8)).result(60).text
