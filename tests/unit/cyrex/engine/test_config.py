from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cyrex.engine.config import COUNTS, EngineConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dtype", "fp8"),
        ("device", "tpu"),
        ("max_context", 1),
        ("prefix_cache_bytes", -1),
        *((name, 0) for name in COUNTS),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field} must"):
        EngineConfig("base", **{field: value})


def test_the_least_that_is_allowed() -> None:
    least: dict[str, Any] = dict.fromkeys(COUNTS, 1)
    config = EngineConfig("base", **least, max_context=2, prefix_cache_bytes=0)
    assert config.max_batch == 1


def test_a_path_must_be_a_folder_and_a_hubs_name_need_not(tmp_path: Path) -> None:
    EngineConfig(str(tmp_path)).check_base_model()
    EngineConfig("organisation/model").check_base_model()
    for missing in (str(tmp_path / "none"), "./none", "~/none", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="base_model"):
            EngineConfig(missing).check_base_model()
