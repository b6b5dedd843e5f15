from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from helox.errors import UserError
from helox.spec import TrainingConfig, parse_spec, problems_of

PATHS = {"base_model": "b", "data": "d", "work_dir": "w", "output_dir": "o"}


def test_defaults() -> None:
    spec = parse_spec(json.dumps(PATHS))
    config = spec.config
    assert (config.lora_rank, config.lora_alpha, config.target_modules) == (16, 32, "all-linear")
    assert (spec.use_qlora, spec.seed, spec.threads, spec.resume) == (False, 0, 1, True)


def test_a_dumped_spec_reads_back() -> None:
    spec = parse_spec(json.dumps({**PATHS, "resume": "some/step-3", "config": {"lora_rank": 4}}))
    assert parse_spec(spec.model_dump_json()) == spec


def test_auto_is_what_is_not_given() -> None:
    names = ("num_epochs", "batch_size", "learning_rate", "warmup_ratio")
    assert TrainingConfig.model_validate(dict.fromkeys(names, "auto")) == TrainingConfig()


def test_modules_are_a_set_in_order() -> None:
    config = TrainingConfig(target_modules=["v_proj", "q_proj", "v_proj"])
    assert config.target_modules == ["q_proj", "v_proj"]


@pytest.mark.parametrize(
    ("config", "field", "limit"),
    [
        ({"lora_rank": 0}, "config.lora_rank", "1"),
        ({"lora_rank": 1000}, "config.lora_rank", "256"),
        ({"lora_rank": "many"}, "config.lora_rank", "integer"),
        ({"lora_dropout": 1.0}, "config.lora_dropout", "0.9"),
        ({"learning_rate": 0}, "config.learning_rate", "0"),
        ({"learning_rate": float("nan")}, "config.learning_rate", "finite"),
        ({"num_epochs": 101}, "config.num_epochs", "100"),
        ({"max_length": 8}, "config.max_length", "16"),
        ({"holdout_fraction": 0.9}, "config.holdout_fraction", "0.5"),
        ({"lr_scheduler": "step"}, "config.lr_scheduler", "cosine"),
        ({"target_modules": []}, "config.target_modules", "at least one"),
        ({"target_modules": "all"}, "config.target_modules", "all-linear"),
        ({"target_modules": ["../x"]}, "config.target_modules.0", "pattern"),
        ({"pack_length": 100, "max_length": 200}, "config.pack_length", "max_length 200"),
        ({"method": "dpo"}, "config.method", "supervised"),
        ({"bias": "all"}, "config.bias", "not a setting"),
        ({"modules_to_save": ["lm_head"]}, "config.modules_to_save", "not a setting"),
    ],
)
def test_a_bad_value_is_refused_by_field_and_limit(
    config: dict[str, Any], field: str, limit: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse_spec(json.dumps({**PATHS, "config": config}))
    assert caught.value.field == field
    assert limit in caught.value.message


def test_values_are_not_repeated_in_errors() -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingConfig.model_validate({"lora_rank": "my secret"})
    (problem,) = problems_of(caught.value)
    assert "secret" not in problem.message and problem.field == "lora_rank"


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}"])
def test_what_is_not_a_spec_is_the_users_error(text: str) -> None:
    with pytest.raises(UserError):
        parse_spec(text)
