from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from helox.base import Base
from helox.mask import Example
from helox.plan import (
    MAX_AUTO_TOKENS,
    MIN_EPOCHS,
    MIN_STEPS,
    Plan,
    batch_size_for,
    learning_rate_for,
    make_plan,
    warmup_steps_for,
)
from helox.spec import TrainingConfig


def plan(base: Path, count: int, *, tokens: int = 20, varied: bool = False, **config: Any) -> Plan:
    examples = [Example((1,) * tokens, b"\1" * tokens, 0, tokens)] * count
    return make_plan(TrainingConfig(**config), Base.open(base), examples, varied=varied)


def test_the_learning_rate_falls_with_the_width() -> None:
    widths = (64, 256, 576, 2000, 4096, 8192)
    rates = [learning_rate_for(width) for width in widths]
    assert rates == sorted(rates, reverse=True)
    assert rates[1] == pytest.approx(2e-3, rel=0.05)
    assert rates[2] == pytest.approx(1e-3, rel=0.15)
    assert rates[4] == pytest.approx(2.5e-4, rel=0.2)
    assert learning_rate_for(None) == learning_rate_for(4096)


@pytest.mark.parametrize(
    ("config", "width"),
    [
        ({"hidden_size": 576}, 576),
        ({"n_embd": 768}, 768),
        ({"text_config": {"hidden_size": 2048}}, 2048),
        ({"hidden_size": None}, None),
    ],
)
def test_the_width_of_a_base(
    tiny_base: Path, tmp_path: Path, config: dict[str, Any], width: int | None
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    values = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**values, "hidden_size": None, **config}))
    assert Base.open(base).width == width


def test_few_examples_are_seen_more_often(tiny_base: Path) -> None:
    plans = [plan(tiny_base, count) for count in (1, 2, 10, 50, 270, 1000, 10_000)]
    epochs = [p.num_epochs for p in plans]
    assert epochs == sorted(epochs, reverse=True)
    assert all(p.total_steps >= MIN_STEPS for p in plans)
    assert epochs[4] == 5 and epochs[-1] == MIN_EPOCHS
    assert plans[1].step_size == 2  # two rows are learned beside each other
    sizes = [p.batch_size for p in plans]
    assert sizes == sorted(sizes) and sizes == [
        batch_size_for(n) for n in (1, 2, 10, 50, 270, 1000, 10_000)
    ]


def test_long_examples_are_not_repeated_for_hours(tiny_base: Path) -> None:
    assert plan(tiny_base, 50, tokens=MAX_AUTO_TOKENS // 50).num_epochs == MIN_EPOCHS


def test_examples_that_vary_go_on_teaching(tiny_base: Path) -> None:
    assert plan(tiny_base, 270, varied=True).num_epochs > plan(tiny_base, 270).num_epochs


def test_what_is_given_is_kept(tiny_base: Path) -> None:
    given = {"num_epochs": 1, "batch_size": 3, "learning_rate": 0.01, "warmup_ratio": 0.5}
    found = plan(tiny_base, 60, gradient_accumulation_steps=2, **given)
    assert (found.num_epochs, found.batch_size, found.step_size) == (1, 3, 6)
    assert (found.learning_rate, found.warmup_steps, found.total_steps) == (0.01, 5, 10)
    assert not found.may_stop_early and plan(tiny_base, 60).may_stop_early


def test_warm_up_steps_win_over_the_ratio() -> None:
    assert warmup_steps_for(TrainingConfig(warmup_ratio=0.1), 200) == 20
    assert warmup_steps_for(TrainingConfig(warmup_ratio=0.1, warmup_steps=5), 200) == 5
    assert warmup_steps_for(TrainingConfig(warmup_steps=500), 200) == 200
    assert warmup_steps_for(TrainingConfig(), 1000) == 30
    assert warmup_steps_for(TrainingConfig(), 100) == 5  # a few at least
    assert warmup_steps_for(TrainingConfig(), 20) == 2  # but no more than a tenth
