"""An adapter's files that cannot be loaded fail their requests alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cyrex.engine import (
    AdapterRef,
    AdapterRefused,
    Request,
)
from cyrex.engine.loop import Engine
from tests.support.engine_requests import PROMPT, ask
from tests.support.tiny import edit_weights, ref_of


def no_config(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def bad_json(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{")


def no_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def other_rank(folder: Path) -> None:
    edit_config(folder, r=3)


def ia3(folder: Path) -> None:
    edit_config(folder, peft_type="IA3")


def biases(folder: Path) -> None:
    edit_config(folder, bias="all")


def hanging_pattern(folder: Path) -> None:
    edit_config(folder, rank_pattern={"(a+)+$": 2})


def foreign_module(folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if "layers.0.self_attn.q_proj" in name]:
            tensors[name.replace("layers.0.", "layers.9.")] = tensors.pop(name)

    edit_weights(folder, edit)


def wrong_shape(folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for name in tensors:
            if name.endswith("q_proj.lora_A.weight"):
                tensors[name] = torch.zeros(4, 16)

    edit_weights(folder, edit)


def half_a_pair(folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors.popitem()

    edit_weights(folder, edit)


def not_finite(folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        next(iter(tensors.values()))[0, 0] = math.nan

    edit_weights(folder, edit)


DAMAGES = [
    no_config, bad_json, no_weights, other_rank, ia3, biases, hanging_pattern, foreign_module,
    wrong_shape, half_a_pair, not_finite,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_adapter_that_cannot_load_fails_its_requests_alone(
    engine: Engine,
    adapters: list[AdapterRef],
    make_adapter: Callable[..., AdapterRef],
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    good = ask(engine, adapters[0]), ask(engine)
    folder = Path(make_adapter(tmp_path / "a", "acme", "a", seed=31).path)
    weights = folder / "adapter_model.safetensors"
    damage(folder)
    kept = weights.exists() and (folder / "adapter_config.json").exists()
    ref = ref_of(folder, "acme", "a") if kept else AdapterRef("acme", "a", "0", str(folder), "0")
    handles = [engine.submit(Request("acme", ref, PROMPT, 8)) for _ in range(3)]
    assert (ask(engine, adapters[0]), ask(engine)) == good
    for handle in handles:
        with pytest.raises(AdapterRefused):
            handle.result(60)
    assert ref.key not in [resident.key for resident in engine.resident()]
    assert (ask(engine, adapters[0]), ask(engine)) == good
