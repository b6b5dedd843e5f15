"""An order that exists can be carried out."""

from __future__ import annotations

from typing import Any

import pytest

from cyrex.errors import UserError
from cyrex.training.order import MAX_SEED, TrainingOrder
from settings import get_settings


def test_settings_are_under_our_names() -> None:
    order = TrainingOrder("acme", {"rank": 8, "num_epochs": 2})
    assert order.config == {"lora_rank": 8, "num_epochs": 2}


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": MAX_SEED + 1}, "seed"),
        ({"base_model": "other/model"}, "base_model"),
        ({"config": {"lora_rank": 0}}, "config.lora_rank"),
        ({"config": {"rank": 8, "lora_rank": 8}}, "config.rank"),
    ],
)
def test_what_cannot_be_trained_is_no_order(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(UserError) as refused:
        TrainingOrder("acme", **asked)
    assert refused.value.param == param
    assert refused.value.message.startswith(f"{param}: ")


def test_the_limits_themselves_are_orders() -> None:
    served = get_settings().base_model_path
    for seed in (0, MAX_SEED, None):
        assert TrainingOrder("acme", seed=seed, base_model=served).seed == seed


def test_only_an_order_with_an_id_of_its_own_came_as_an_event() -> None:
    assert not TrainingOrder("acme").is_an_event
    assert TrainingOrder("acme", request_id="outside-1").is_an_event


@pytest.mark.parametrize(("served", "quantised"), [("fp32", False), ("bf16", False), ("nf4", True)])
def test_a_base_is_trained_on_as_it_is_served(
    monkeypatch: pytest.MonkeyPatch, served: str, quantised: bool
) -> None:
    monkeypatch.setenv("ENGINE_DTYPE", served)
    get_settings.cache_clear()
    try:
        assert TrainingOrder("acme").use_qlora is quantised
        assert TrainingOrder("acme", use_qlora=not quantised).use_qlora is not quantised
    finally:
        get_settings.cache_clear()
