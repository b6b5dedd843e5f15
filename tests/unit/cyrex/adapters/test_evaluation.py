from __future__ import annotations

import json
from pathlib import Path

import pytest

from cyrex.adapters.evaluation import sentence, spec_of
from cyrex.adapters.evaluation_child import read_spec
from settings import get_settings


def test_it_is_measured_on_an_engine_like_the_one_that_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a GPU the number of rows decides how long a prompt may be."""
    monkeypatch.setenv("ENGINE_BATCH", "16")
    monkeypatch.setenv("ENGINE_DTYPE", "nf4")
    get_settings.cache_clear()
    try:
        told = spec_of(tmp_path, tmp_path, [{"label": "base", "path": None}])
    finally:
        get_settings.cache_clear()
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(told))
    spec = read_spec(path)
    assert (spec.max_batch, spec.dtype) == (16, "nf4")


def test_the_scores_are_told_in_one_sentence() -> None:
    scores = {"base": {"score": 0.125}, "candidate": {"score": 1.0}}
    said = sentence({"examples": 8, "metric": "label", "scores": scores})
    assert said == "label on 8 held-out examples: base 0.125, candidate 1.000"


def test_nothing_held_out_is_said_too() -> None:
    assert "nothing was held out" in sentence({"examples": 0, "scores": {}})
