"""The tiny base model, and an engine on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrex.engine import EngineConfig
from cyrex.engine.loop import Engine
from tests.support.tiny import adapters, base, make_adapter

__all__ = ["adapters", "base", "make_adapter"]


@pytest.fixture(scope="module")
def engine(base: Path) -> Iterator[Engine]:
    engine = Engine(EngineConfig(str(base), max_batch=8))
    yield engine
    engine.close()
