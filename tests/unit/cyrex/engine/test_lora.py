"""Rows of any adapters in one pass: however it is computed, each gets its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
import torch

from cyrex.engine.adapters import Adapter, AdapterPool
from cyrex.engine.arena import Arena
from cyrex.engine.lora import (
    SEGMENT_TOKENS,
    CurrentPlan,
    LoraLinear,
    Plan,
    Planner,
    is_segment,
    rows_by,
)
from tests.unit.cyrex.engine.lora_files import PLACES, tensors_of, write

CPU = torch.device("cpu")
BY: list[Literal["kernel", "gather"]] = ["kernel", "gather"]


@pytest.fixture(scope="module")
def pool() -> Iterator[AdapterPool]:
    pool = AdapterPool(PLACES, 4, Arena(1 << 16, torch.float32, CPU), lambda: None)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def adapters(pool: AdapterPool, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    """Rank 4 everywhere, rank 6 everywhere, rank 16 in `down` alone."""
    folder = tmp_path_factory.mktemp("adapters")
    refs = [
        write(folder / "a", 4, 1),
        write(folder / "b", 6, 2),
        write(folder / "c", 16, 3, ("down",)),
    ]
    loaded = [pool.acquire(ref) for ref in refs]
    for adapter in loaded:
        adapter.done.result(10)
    return loaded


def expected(x: torch.Tensor, name: str, which: list[int | None]) -> torch.Tensor:
    """What the adapters (rank, seed as in the fixture; alpha is twice the rank) add to zero."""
    kinds = [(4, 1, tuple(PLACES)), (6, 2, tuple(PLACES)), (16, 3, ("down",))]
    y = torch.zeros(len(x), PLACES[name].outputs)
    for i, adapter in enumerate(which):
        if adapter is not None and name in kinds[adapter][2]:
            tensors = tensors_of(*kinds[adapter])
            a = tensors[f"base_model.model.{name}.lora_A.weight"]
            b = tensors[f"base_model.model.{name}.lora_B.weight"]
            y[i] = 2 * (x[i] @ a.T @ b.T)
    return y


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("name", PLACES)
def test_rows_and_segments_get_their_own(
    pool: AdapterPool, adapters: list[Adapter], name: str, by: Literal["kernel", "gather"]
) -> None:
    which: list[int | None] = [2, 0, None, 1, 0, 2]
    columns = [pool.none if i is None else adapters[i].index for i in which]
    segments = [(6, 30, adapters[1]), (35, 60, adapters[2])]
    plan = Plan(pool, columns, segments, by)
    x = torch.randn(60, PLACES[name].inputs)
    y = torch.zeros(60, PLACES[name].outputs)
    owners = [*which, *[1] * 24, *[None] * 5, *[2] * 25]
    for _ in range(2):  # The second time from what was kept.
        y.zero_()
        plan.add(PLACES[name].index, x, y)
        assert torch.allclose(y, expected(x, name, owners), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("by", BY)
def test_a_base_in_half_precision(
    pool: AdapterPool, adapters: list[Adapter], by: Literal["kernel", "gather"]
) -> None:
    plan = Plan(pool, [adapters[0].index, pool.none], [(2, 20, adapters[1])], by)
    x = torch.randn(20, 12).bfloat16()
    y = torch.zeros(20, 20).bfloat16()
    plan.add(0, x, y)
    owners = [0, None, *[1] * 18]
    assert torch.allclose(y.float(), expected(x.float(), "up", owners), rtol=0.02, atol=0.02)


def test_a_layer_adds_to_what_its_base_layer_gives(
    pool: AdapterPool, adapters: list[Adapter]
) -> None:
    current = CurrentPlan()
    base = torch.nn.Linear(12, 20)
    layer = LoraLinear(base, 0, current)
    x = torch.randn(1, 3, 12)
    with torch.inference_mode():
        assert torch.equal(layer(x), base(x))
        current.plan = Plan(pool, [a.index for a in adapters], [], "kernel")
        difference = (layer(x) - base(x))[0]
    assert torch.allclose(difference, expected(x[0], "up", [0, 1, 2]), rtol=1e-3, atol=1e-4)
    assert layer.weight is base.weight
    assert layer.bias is base.bias


def test_a_pass_without_adapters_has_no_plan(pool: AdapterPool) -> None:
    planner = Planner(pool, CPU)
    assert planner.plan([None, None], [(50, None)]) is None
    assert planner.plan([], []) is None


def test_a_decoding_batch_keeps_its_plan_until_it_changes(
    pool: AdapterPool, adapters: list[Adapter]
) -> None:
    planner = Planner(pool, CPU)
    first, second, third = adapters
    plan = planner.plan([first, None, second], [])
    assert plan is planner.plan([first, None, second], [])
    assert plan is not planner.plan([first, second, None], [])
    assert planner.plan([], [(40, third)]) is not planner.plan([], [(40, third)])


def test_neighbouring_prompts_of_one_adapter_are_one_segment(
    pool: AdapterPool, adapters: list[Adapter]
) -> None:
    planner = Planner(pool, CPU)
    first, second, _ = adapters
    half = SEGMENT_TOKENS // 2
    prompts = [(half, first), (half, first), (3, second), (20, None), (2, second)]
    plan = planner.plan([second], prompts)
    assert plan is not None
    total = 1 + 2 * half + 25
    owners = [1, *[0] * 2 * half, *[1] * 3, *[None] * 20, 1, 1]
    x, y = torch.randn(total, 12), torch.zeros(total, 20)
    plan.add(0, x, y)
    assert torch.allclose(y, expected(x, "up", owners), rtol=1e-4, atol=1e-4)


def test_the_table() -> None:
    assert rows_by(CPU) == "kernel"
    assert rows_by(torch.device("cuda")) == "gather"
    assert not is_segment(1)
    assert is_segment(64)
