from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_packages import safetensors_bytes, write_package


@pytest.fixture
def make_package(tmp_path: Path) -> Callable[..., Path]:
    """`make_package(name, seed=0, **config)` writes a good package and returns its folder."""

    def make(name: str, seed: int = 0, **config: Any) -> Path:
        return write_package(tmp_path / name, seed, **config)

    return make


@pytest.fixture
def make_safetensors() -> Callable[..., bytes]:
    return safetensors_bytes
