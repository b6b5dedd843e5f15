"""Settings by name, type and range, and against the base model's own files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from helox.base_facts import BaseFacts, base_facts
from helox.config_check import adapted_layers, check_settings, read_spec
from helox.errors import UserError
from helox.spec import TrainingConfig


def write_base(folder: Path, tensors: dict[str, list[int]], **config: Any) -> Path:
    """A base model of which there is nothing but what is read: a config and headers."""
    folder.mkdir()
    values = {"vocab_size": 100, "max_position_embeddings": 64, **config}
    (folder / "config.json").write_text(json.dumps(values))
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in tensors.items()
    }
    raw = json.dumps({"__metadata__": {}, **header}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
    return folder


LAYER = "model.layers.0."


def test_facts_of_the_tiny_base(tiny_base: Path) -> None:
    facts = base_facts(tiny_base)
    kinds = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert facts.kinds == kinds and facts.max_positions == 256 and not facts.conv1d
    assert "<|end|>" in facts.control_tokens
    assert adapted_layers(TrainingConfig(), facts)["layers"] == dict.fromkeys(kinds, 2)


def test_embeddings_norms_heads_and_experts_are_no_linear_layers(tmp_path: Path) -> None:
    tensors = {
        "model.embed_tokens.weight": [100, 8],
        "model.norm.weight": [8],
        "output.weight": [100, 8],
        "lm_head.weight": [96, 8],
        f"{LAYER}self_attn.q_proj.weight": [8, 8],
        f"{LAYER}self_attn.q_proj.bias": [8],
        f"{LAYER}mlp.gate.weight": [4, 8],
        f"{LAYER}mlp.experts.0.up_proj.weight": [16, 8],
        f"{LAYER}mlp.experts.gate_up_proj": [4, 32, 8],
    }
    facts = base_facts(write_base(tmp_path / "moe", tensors))
    assert facts.kinds == ["gate", "q_proj"] and facts.experts == 2
    _, problems = check_settings({"target_modules": ["up_proj"]}, facts)
    assert "its experts are fused" in problems[0].message
    assert adapted_layers(TrainingConfig(), facts)["experts_left_out"] == 2


def test_a_base_of_conv1d_can_be_served_with_no_adapter(tmp_path: Path) -> None:
    tensors = {"h.0.attn.c_attn.weight": [8, 24]}
    facts = base_facts(write_base(tmp_path / "gpt2", tensors, model_type="gpt2"))
    _, problems = check_settings({}, facts)
    assert "Conv1D" in problems[0].message


def test_weights_that_are_no_safetensors(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "broken", {})
    (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="is not safetensors"):
        base_facts(folder)


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ({"lora_rank": True}, "lora_rank", "valid integer"),
        ({"lora_rank": "16"}, "lora_rank", "valid integer"),
        ({"lora_alpha": 16.0}, "lora_alpha", "valid integer"),
        ({"learning_rate": "2e-4"}, "learning_rate", "valid number"),
        ({"learning_rate": True}, "learning_rate", "valid number"),
        ({"packing": "yes"}, "packing", "valid boolean"),
        ({"packing": 1}, "packing", "valid boolean"),
        ({"rank": 0}, "rank", "greater than or equal to 1"),
        ({"epochs": 3}, "epochs", "nearest are num_epochs"),
        ({"n_epochs": 3}, "n_epochs", "nearest are num_epochs"),
        ({"r": 16}, "r", "nearest are lora_rank"),
        ({"lora_rnk": 16}, "lora_rnk", "nearest are lora_rank"),
        ({"max_seq_length": 16}, "max_seq_length", "nearest are max_length"),
        ({"use_qlora": True}, "use_qlora", "beside config"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save", "cannot be served"),
        ({"qqq": 1}, "qqq", "the settings are lora_rank"),
        ({"rank": 8, "lora_rank": 8}, "rank", "the same setting as lora_rank"),
        ({"max_length": 300}, "max_length", "300 is more than the 256 tokens"),
        ({"target_modules": ["query_key_value"]}, "target_modules", "it has down_proj"),
        ({"target_modules": ["q_proj", "lm_head"]}, "target_modules", "'lm_head'"),
        ({"target_modules": ["embed_tokens"]}, "target_modules", "'embed_tokens'"),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    tiny_base: Path, config: dict[str, Any], field: str, message: str
) -> None:
    _, problems = check_settings({"max_length": 64, **config}, base_facts(tiny_base))
    assert [problem.field for problem in problems] == [field]
    assert message in problems[0].message


def test_the_guides_names_mean_the_same() -> None:
    named, problems = check_settings({"rank": 8, "alpha": 16, "dropout": 0.1, "learning_rate": 1})
    assert not problems
    assert named == {"lora_rank": 8, "lora_alpha": 16, "lora_dropout": 0.1, "learning_rate": 1}


def test_parts_of_a_layers_name_may_be_named() -> None:
    facts = BaseFacts("b", None, frozenset({"model.layers.0.self_attn.q_proj"}), 0, False, ())
    assert facts.has("q_proj") and facts.has("self_attn.q_proj") and not facts.has("proj")


def test_a_spec_is_checked_as_the_api_checks_it(tmp_path: Path) -> None:
    paths = {
        name: str(tmp_path / name) for name in ("base_model", "data", "work_dir", "output_dir")
    }
    spec = read_spec(json.dumps({**paths, "config": {"rank": 4}}))
    assert spec.config.lora_rank == 4
    with pytest.raises(UserError, match="nearest are num_epochs") as caught:
        read_spec(json.dumps({**paths, "config": {"epochs": 4}}))
    assert caught.value.field == "config.epochs"
    with pytest.raises(UserError, match="valid integer"):
        read_spec(json.dumps({**paths, "config": {"lora_rank": "4"}}))
