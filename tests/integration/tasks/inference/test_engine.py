"""An inference worker's engine, as far as a process without one can show it."""

from __future__ import annotations

import pytest

from tasks.inference import engine


def test_a_process_without_an_engine_says_so() -> None:
    with pytest.raises(AssertionError, match="inference queue only"):
        engine.engine()
    assert engine.warm_adapter(None, "acme", "a") == {"ok": "no engine here"}
    assert engine.forget_package(None, "0" * 64) == {"ok": "no engine here"}
