"""An engine's configuration is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrex.engine import (
    EngineConfig,
)
from cyrex.engine.loop import Engine


def test_a_base_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-model"):
        Engine(EngineConfig(str(tmp_path / "no-such-model")))
    (tmp_path / "empty").mkdir()
    with pytest.raises((OSError, ValueError)):
        Engine(EngineConfig(str(tmp_path / "empty")))
