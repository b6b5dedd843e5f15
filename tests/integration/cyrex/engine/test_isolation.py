"""Companies never get each other's answers, and do not wait for each other long."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from cyrex.engine import AdapterRef, EngineConfig, Request, RequestRefused
from cyrex.engine.loop import Engine

PROMPT = list(range(20, 50))


def ask(engine: Engine, adapter: AdapterRef | None, tokens: int = 12) -> list[int]:
    company = adapter.company if adapter else "company0"
    completion = engine.submit(Request(company, adapter, PROMPT, tokens)).result(60)
    assert completion.sha256 == (adapter.sha256 if adapter else None)
    return completion.tokens


def test_two_companies_interleaved_get_their_own(
    engine: Engine, adapters: list[AdapterRef]
) -> None:
    first, second = adapters[0], adapters[1]
    assert first.company != second.company
    expected = {ref: ask(engine, ref) for ref in (first, second, None)}
    assert len(set(map(tuple, expected.values()))) == 3
    wrong: list[AdapterRef | None] = []

    def caller(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(8):
            ref = chance.choice([first, second, None])
            if ask(engine, ref) != expected[ref]:
                wrong.append(ref)

    threads = [threading.Thread(target=caller, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_same_id_of_two_companies_and_of_other_bytes(
    engine: Engine, make_adapter: Callable[..., AdapterRef], tmp_path: Path
) -> None:
    refs = [
        make_adapter(tmp_path / "1", "acme", "support", seed=11),
        make_adapter(tmp_path / "2", "bolt", "support", seed=12),
        make_adapter(tmp_path / "3", "acme", "support", seed=13),
    ]
    expected = [ask(engine, ref) for ref in refs]
    assert len(set(map(tuple, expected))) == 3
    handles = [engine.submit(Request(ref.company, ref, PROMPT, 12)) for ref in refs * 5]
    assert [handle.result(60).tokens for handle in handles] == expected * 5


def test_a_company_cannot_name_anothers_adapter(adapters: list[AdapterRef]) -> None:
    with pytest.raises(RequestRefused, match="another company"):
        Request("intruder", adapters[0], PROMPT)


def test_loading_and_evicting_leaves_the_base_as_it_was(
    base: Path, adapters: list[AdapterRef]
) -> None:
    engine = Engine(EngineConfig(str(base), max_adapters=2))
    before = ask(engine, None, 30)
    for ref in adapters * 2:
        ask(engine, ref)
        assert len(engine.resident()) <= 2
    assert ask(engine, None, 30) == before
    assert [resident.key for resident in engine.resident()] == [r.key for r in adapters[-2:]]
    engine.close()


def test_the_byte_budget_evicts_the_least_recently_used(
    base: Path, adapters: list[AdapterRef]
) -> None:
    engine = Engine(EngineConfig(str(base)))
    for ref in adapters[:3]:
        assert engine.warm(ref)
    sizes = {resident.key: resident.bytes for resident in engine.resident()}
    engine.close()
    budget = sum(sizes[ref.key] for ref in (adapters[0], adapters[2]))
    engine = Engine(EngineConfig(str(base), max_adapter_bytes=budget))
    for ref in (adapters[2], adapters[0], adapters[2]):
        assert engine.warm(ref)
    assert [resident.key for resident in engine.resident()] == [adapters[0].key, adapters[2].key]
    assert engine.warm(adapters[1]) is (sizes[adapters[1].key] <= budget)
    engine.close()


def test_a_long_queue_of_one_company_does_not_hold_up_another(
    engine: Engine, adapters: list[AdapterRef]
) -> None:
    busy, other = adapters[0], adapters[1]
    ended: list[str] = []
    handles = []
    for number in range(60):
        request = Request(busy.company, busy, [30 + number, 7, 9], 100)
        handles.append(engine.submit(request))
        handles[-1].add_done_callback(lambda _: ended.append("busy"))
    single = engine.submit(Request(other.company, other, PROMPT, 8))
    single.add_done_callback(lambda _: ended.append("other"))
    for handle in handles:
        handle.result(120)
    assert ended.index("other") <= 16


def test_bytes_that_changed_since_they_were_verified_are_refused(
    engine: Engine, make_adapter: Callable[..., AdapterRef], tmp_path: Path
) -> None:
    ref = make_adapter(tmp_path / "a", "acme", "a", seed=21)
    weights = Path(ref.path) / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, weights)
    assert engine.warm(ref) is False
    with pytest.raises(Exception, match="not those asked for"):
        ask(engine, ref)
    renamed = dataclasses.replace(ref, adapter_id="b")
    assert engine.warm(renamed) is False
