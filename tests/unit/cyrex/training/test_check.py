"""What could not be trained is refused before anything is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cyrex.errors import UserError
from cyrex.training.check import check_examples
from cyrex.training.order import TrainingOrder
from database.base import Json
from helox.check import MAX_LINE_BYTES
from settings import get_settings

GOOD = {"input": "question", "output": "answer"}


def check_request(lines: list[Any], config: Json, base_model: str | None = None) -> list[bytes]:
    """What every way in does."""
    TrainingOrder("acme", config, base_model=base_model)
    return check_examples(lines).lines


def refusal(*arguments: Any, **named: Any) -> UserError:
    with pytest.raises(UserError) as refused:
        check_request(*arguments, **named)
    assert refused.value.status == 400
    return refused.value


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        {"prompt": "question", "completion": "answer"},
        {"instruction": "translate", "input": "hund", "output": "dog"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"input": {"order": 7}, "output": {"total": 1.5}},
        {**GOOD, "source": "crm"},
    ],
)
def test_every_form_of_a_line_is_taken(line: dict[str, Any]) -> None:
    (written,) = check_request([line], {})
    assert written.endswith(b"\n")
    assert json.loads(written) == line


def test_an_empty_list_names_the_field() -> None:
    error = refusal([], {})
    assert (error.code, error.param) == ("no_examples", "training_data")


@pytest.mark.parametrize(
    ("lines", "param", "line"),
    [
        ([GOOD, {"input": "question"}], "training_data[1].output", 2),
        ([{"input": "", "output": "answer"}], "training_data[0].input", 1),
        ([GOOD, GOOD, {"input": "question", "output": None}], "training_data[2].output", 3),
        ([{"text": "hello"}], "training_data[0]", 1),
        (
            [{"messages": [{"role": "boss", "content": "q"}]}],
            "training_data[0].messages[0].role",
            1,
        ),
    ],
)
def test_a_bad_line_is_named_with_its_field(lines: list[Any], param: str, line: int) -> None:
    error = refusal(lines, {})
    assert error.code == "invalid_training_data"
    assert error.param == param
    assert error.message.startswith(f"{param}: ")
    assert f"line {line}" in error.message
    assert error.details[0]["line"] == line


def test_all_bad_lines_are_counted_and_the_first_are_shown() -> None:
    error = refusal([GOOD, *[{"input": "question"}] * 30], {})
    assert "30 bad lines" in error.message
    assert [shown["line"] for shown in error.details] == list(range(2, 22))


@pytest.mark.parametrize(
    "line", [5, None, "text", '{"input": "a", "output": "b"}', "", [GOOD], True]
)
def test_a_line_that_is_no_object_is_refused(line: Any) -> None:
    error = refusal([GOOD, line], {})
    assert error.code == "invalid_training_data"
    assert error.param == "training_data[1]"


def test_half_a_character_is_refused_wherever_it_stands() -> None:
    assert refusal([{"input": "\ud800", "output": "b"}], {}).param == "training_data[0]"
    assert refusal([GOOD, {**GOOD, "note": "\ud800"}], {}).param == "training_data[1]"


def test_too_many_lines_name_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_TRAINING_EXAMPLES", "3")
    get_settings.cache_clear()
    try:
        check_request([GOOD] * 3, {})
        error = refusal([GOOD] * 4, {})
    finally:
        monkeypatch.delenv("MAX_TRAINING_EXAMPLES")
        get_settings.cache_clear()
    assert error.code == "too_many_examples"
    assert "4 examples, the limit is 3" in error.message


def test_a_line_that_the_trainer_would_not_read_is_refused_at_once() -> None:
    around = len('{"input": "", "output": "b"}')
    check_request([{"input": "é" * ((MAX_LINE_BYTES - around) // 2), "output": "b"}], {})
    error = refusal([GOOD, {"input": "é" * (MAX_LINE_BYTES // 2), "output": "b"}], {})
    assert (error.code, error.param) == ("invalid_training_data", "training_data[1]")
    assert f"the limit is {MAX_LINE_BYTES} (line 2)" in error.message


@pytest.mark.parametrize(
    ("config", "param", "said"),
    [
        ({"lora_rank": 0}, "config.lora_rank", "greater than or equal to 1"),
        ({"lora_rank": 1000}, "config.lora_rank", "less than or equal to 256"),
        ({"num_epochs": "many"}, "config.num_epochs", "integer"),
        ({"learning_rate": float("nan")}, "config.learning_rate", "finite"),
        ({"target_modules": []}, "config.target_modules", "at least one module"),
        ({"target_modules": 5}, "config.target_modules", 'a list of names of modules, or "all-'),
        ({"target_modules": "q_proj"}, "config.target_modules", "a list of names of modules"),
        ({"target_modules": [1]}, "config.target_modules.0", "valid string"),
        ({"rank_of_lora": 16}, "config.rank_of_lora", "is not a setting"),
        ({"rank": 0}, "config.rank", "greater than or equal to 1"),
    ],
)
def test_a_bad_setting_is_named_with_its_limit(
    config: dict[str, Any], param: str, said: str
) -> None:
    error = refusal([GOOD], config)
    assert error.code == "invalid_config"
    assert error.param == param
    assert error.message.startswith(f"{param}: ")
    assert said in error.message


def test_the_guides_names_of_settings_mean_the_same() -> None:
    check_request([GOOD], {"rank": 8, "alpha": 16, "dropout": 0.05})
    check_request([GOOD], {"lora_rank": 8, "target_modules": ["q_proj", "v_proj"]})


def test_two_names_of_one_setting_are_refused() -> None:
    assert refusal([GOOD], {"rank": 8, "lora_rank": 16}).code == "invalid_config"


def test_another_base_model_is_refused_by_name() -> None:
    check_request([GOOD], {}, base_model=get_settings().base_model_path)
    error = refusal([GOOD], {}, base_model="mistralai/Mistral-7B-v0.1")
    assert (error.code, error.param) == ("unknown_base_model", "base_model")
    assert "mistralai/Mistral-7B-v0.1" in error.message


def test_the_setting_is_checked_before_the_lines() -> None:
    assert refusal([{"input": "question"}], {"lora_rank": 0}).code == "invalid_config"
