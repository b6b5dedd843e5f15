from __future__ import annotations

from typing import Any

import pytest

from modelkit.errors import PackageRefused, Refusal
from modelkit.lora import MAX_RANK, check_config, check_tensors
from modelkit.tensors import Tensor
from tests.support.packages import CONFIG, LAYER


def test_a_plain_configuration_is_accepted() -> None:
    assert check_config(CONFIG) == CONFIG


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "IA3"}, Refusal.NOT_LORA),
        ({"modules_to_save": ["lm_head"]}, Refusal.MODULES_TO_SAVE),
        ({"bias": "all"}, Refusal.BIAS),
        ({"lora_bias": True}, Refusal.BIAS),
        ({"trainable_token_indices": [1]}, Refusal.NEW_VOCABULARY),
        ({"use_dora": True}, Refusal.NOT_SERVABLE),
        ({"init_lora_weights": "pissa"}, Refusal.NOT_SERVABLE),
        ({"r": True}, Refusal.BAD_CONFIG),
        ({"r": MAX_RANK + 1}, Refusal.BAD_CONFIG),
        ({"lora_alpha": 10**400}, Refusal.BAD_CONFIG),
        ({"lora_alpha": float("nan")}, Refusal.BAD_CONFIG),
        ({"use_rslora": 1}, Refusal.BAD_CONFIG),
        ({"rank_pattern": {"(a+)+$": 2}}, Refusal.BAD_CONFIG),
        ({"alpha_pattern": {"q_proj": "4"}}, Refusal.BAD_CONFIG),
    ],
)
def test_what_cannot_be_served_has_its_reason(changes: dict[str, Any], reason: Refusal) -> None:
    with pytest.raises(PackageRefused) as refused:
        check_config(CONFIG | changes)
    assert refused.value.reason is reason


def tensors(**changes: Tensor) -> dict[str, Tensor]:
    sides = {"A": tensor(2, 8), "B": tensor(8, 2)} | changes
    return {f"{LAYER}.lora_{side}.weight": value for side, value in sides.items()}


def tensor(*shape: int, dtype: str = "F32") -> Tensor:
    return Tensor(dtype, shape, 0, 0)


def test_whole_pairs_are_accepted() -> None:
    check_tensors(CONFIG, tensors())
    check_tensors(CONFIG | {"rank_pattern": {"q_proj": 4}}, tensors(A=tensor(4, 8), B=tensor(8, 4)))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({}, Refusal.BAD_TENSORS),
        (tensors(A=tensor(3, 8), B=tensor(8, 3)), Refusal.BAD_TENSORS),
        (tensors(A=tensor(3, 8)), Refusal.BAD_TENSORS),
        (tensors(A=tensor(2, 8, dtype="I8")), Refusal.NOT_SERVABLE),
        (tensors(A=tensor(2)), Refusal.NOT_SERVABLE),
        ({"base_model.model.model.embed_tokens.weight": tensor(2, 8)}, Refusal.NEW_VOCABULARY),
        ({"lm_head.weight": tensor(2, 8)}, Refusal.NOT_SERVABLE),
    ],
)
def test_other_weights_are_refused(found: dict[str, Tensor], reason: Refusal) -> None:
    with pytest.raises(PackageRefused) as refused:
        check_tensors(CONFIG, found)
    assert refused.value.reason is reason
