from __future__ import annotations

import json
from pathlib import Path

import bitsandbytes
import pytest
import torch

from helox.base import Base
from helox.checkpoint import (
    Counters,
    find_checkpoint,
    join_tensors,
    load_checkpoint,
    save_checkpoint,
    split_tensors,
)
from helox.errors import UserError
from helox.model import Learner, build_learner
from helox.optim import make_optimizer
from helox.spec import TrainingConfig

CPU = torch.device("cpu")


def build(base: Path, seed: int) -> tuple[Learner, torch.optim.Optimizer]:
    learner = build_learner(
        Base.open(base), TrainingConfig(lora_rank=2), use_qlora=False, seed=seed, device=CPU
    )
    return learner, make_optimizer(list(learner.trainable().values()), 0.01, CPU)


def random_step(learner: Learner, optimizer: torch.optim.Optimizer) -> None:
    for parameter in learner.trainable().values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def test_all_state_comes_back(tiny_base: Path, tmp_path: Path) -> None:
    learner, optimizer = build(tiny_base, seed=1)
    random_step(learner, optimizer)
    counters = Counters(step=7, tokens=9, epoch_loss_sum=0.1 + 0.2, epochs=[{"loss": 1.5}])
    path = save_checkpoint(tmp_path, "f", counters, learner, optimizer, {"r": 2})
    random_step(learner, optimizer)  # uses random numbers, weights and moments
    expected = learner.adapter_state()

    other, fresh = build(tiny_base, seed=2)
    assert load_checkpoint(path, other, fresh) == counters
    random_step(other, fresh)
    state = other.adapter_state()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert {f.name for f in path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "optimizer.safetensors",
        "rng.safetensors",
        "state.json",
    }


def test_8_bit_state_goes_through_safetensors_and_json() -> None:
    def build() -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(128, 64)), torch.nn.Parameter(torch.ones(3))]
        return parameters, bitsandbytes.optim.AdamW8bit(parameters, lr=0.1)

    def step(parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        for i, parameter in enumerate(parameters):
            parameter.grad = torch.sin(parameter.detach() + i)
        optimizer.step()

    parameters, optimizer = build()
    step(parameters, optimizer)
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(split_tensors(optimizer.state_dict(), "optimizer", tensors))
    assert any(tensor.dtype == torch.uint8 for tensor in tensors.values())

    others, fresh = build()
    with torch.no_grad():
        for other, parameter in zip(others, parameters, strict=True):
            other.copy_(parameter)
    fresh.load_state_dict(join_tensors(json.loads(text), tensors))
    step(parameters, optimizer)
    step(others, fresh)
    assert all(torch.equal(a, b) for a, b in zip(parameters, others, strict=True))


def test_the_newest_whole_one_is_found_and_two_are_kept(tiny_base: Path, tmp_path: Path) -> None:
    learner, optimizer = build(tiny_base, seed=1)
    for step in (9, 10, 11):  # by number: as text, 9 would be the newest
        save_checkpoint(tmp_path, "f", Counters(step=step), learner, optimizer, {})
    (tmp_path / "step-12.partial").mkdir()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-10", "step-11", "step-12.partial"]
    assert find_checkpoint(tmp_path, True, "f", optimizer) == tmp_path / "step-11"
    damaged = tmp_path / "step-11" / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    assert find_checkpoint(tmp_path, True, "f", optimizer) == tmp_path / "step-10"
    assert find_checkpoint(tmp_path, True, "another run", optimizer) is None
    assert find_checkpoint(tmp_path, False, "f", optimizer) is None
    assert find_checkpoint(tmp_path / "none", True, "f", optimizer) is None


def test_another_optimisers_numbers_are_no_checkpoint(tiny_base: Path, tmp_path: Path) -> None:
    """A run that began on a GPU and goes on on a CPU begins again: it must not fail there."""
    learner, fused = build(tiny_base, seed=1)
    eight_bit = bitsandbytes.optim.AdamW8bit(list(learner.trainable().values()), lr=0.1)
    random_step(learner, eight_bit)
    path = save_checkpoint(tmp_path, "f", Counters(step=1), learner, eight_bit, {})
    assert find_checkpoint(tmp_path, True, "f", eight_bit) == path
    assert find_checkpoint(tmp_path, True, "f", fused) is None
    with pytest.raises(UserError, match="another kind of device"):
        find_checkpoint(tmp_path, path, "f", fused)


def test_a_named_checkpoint_must_be_whole_and_of_this_run(tiny_base: Path, tmp_path: Path) -> None:
    learner, optimizer = build(tiny_base, seed=1)
    path = save_checkpoint(tmp_path, "f", Counters(step=1), learner, optimizer, {})
    assert find_checkpoint(tmp_path, path, "f", optimizer) == path
    with pytest.raises(UserError) as caught:
        find_checkpoint(tmp_path, path, "another run", optimizer)
    assert (caught.value.code, caught.value.field) == ("foreign_checkpoint", "resume")
    (path / "rng.safetensors").unlink()
    with pytest.raises(UserError) as caught:
        find_checkpoint(tmp_path, path, "f", optimizer)
    assert caught.value.code == "bad_checkpoint"
