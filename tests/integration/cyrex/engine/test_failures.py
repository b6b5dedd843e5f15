"""What breaks ends alone, and the loop goes on."""

from __future__ import annotations

import json
import logging
import math
import random
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cyrex.engine import (
    AdapterRef,
    AdapterRefused,
    Cancelled,
    DeadlineExceeded,
    EngineClosed,
    EngineConfig,
    EngineError,
    GenerationFailed,
    PromptTooLong,
    Request,
    RequestRefused,
)
from cyrex.engine.layout import Piece
from cyrex.engine.loop import Engine
from cyrex.engine.model import LanguageModel
from tests.support.tiny import CONTEXT, ref_of

PROMPT = list(range(20, 50))


def ask(engine: Engine, adapter: AdapterRef | None = None, prompt: list[int] | str = "hi") -> str:
    company = adapter.company if adapter else "company0"
    return engine.submit(Request(company, adapter, prompt, 8)).result(60).text


def test_a_prompt_too_long_is_refused_by_name(engine: Engine) -> None:
    with pytest.raises(PromptTooLong, match=f"{CONTEXT} tokens"):
        ask(engine, prompt=[5] * CONTEXT)
    completion = engine.submit(Request("company0", None, [5] * (CONTEXT - 1), 50)).result(60)
    assert completion.completion_tokens == 1


def test_a_prompt_of_megabytes_is_refused_without_reading_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = engine.model.max_characters
    with pytest.raises(PromptTooLong, match="tokens"):
        ask(engine, prompt="x" * longest)

    def read(*_: object) -> list[int]:
        raise AssertionError("nobody else's request is read while this one is")

    monkeypatch.setattr(type(engine.model), "encode", read)
    with pytest.raises(PromptTooLong, match=f"{longest + 1} characters; .* {CONTEXT} tokens"):
        ask(engine, prompt="x" * (longest + 1))


def test_who_reads_a_long_prompt_stops_nobody(engine: Engine) -> None:
    """The decode loop is another thread of the same process."""
    pauses: list[float] = []
    is_read = threading.Event()

    def work() -> None:
        last = time.monotonic()
        while not is_read.wait(0.001):
            pauses.append(time.monotonic() - last)
            last = time.monotonic()

    other = threading.Thread(target=work)
    other.start()
    began = time.monotonic()
    engine.model.encode("a long prompt " * 100_000)
    seconds = time.monotonic() - began
    is_read.set()
    other.join()
    assert max(pauses) < seconds / 2


@pytest.mark.parametrize("token", [-1, 260, 10**9])
def test_a_token_that_does_not_exist_is_refused(engine: Engine, token: int) -> None:
    with pytest.raises(RequestRefused, match="from 0 to 259"):
        ask(engine, prompt=[5, token])
    assert isinstance(ask(engine), str)


def test_a_prompt_that_cannot_be_read_fails_alone(engine: Engine) -> None:
    handle = engine.submit(Request("company0", None, [5, "6"]))  # type: ignore[list-item]
    with pytest.raises(RequestRefused, match="TypeError"):
        handle.result(60)
    assert isinstance(ask(engine), str)


def test_a_deadline_may_be_as_late_as_can_be(
    engine: Engine, make_adapter: Callable[..., AdapterRef], tmp_path: Path
) -> None:
    """The loop waits for an adapter of which nothing is there yet."""
    for number, deadline in enumerate((math.inf, 1e300)):
        ref = make_adapter(tmp_path / str(number), "acme", f"late{number}", seed=51)
        handle = engine.submit(Request("acme", ref, PROMPT, 8, deadline=deadline))
        assert handle.result(60).tokens


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


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


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


def test_numbers_that_overflow_fail_their_rows_alone(
    engine: Engine, make_adapter: Callable[..., AdapterRef], tmp_path: Path
) -> None:
    folder = Path(make_adapter(tmp_path / "a", "acme", "a", seed=41).path)

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for tensor in tensors.values():
            tensor.mul_(1e30)

    edit_weights(folder, edit)
    with pytest.raises(GenerationFailed, match="not finite"):
        ask(engine, ref_of(folder, "acme", "a"))
    assert isinstance(ask(engine), str)


def test_a_deadline_ends_what_waits_and_what_runs(engine: Engine) -> None:
    late = Request("company0", None, PROMPT, 100, deadline=time.monotonic() - 0.001)
    with pytest.raises(DeadlineExceeded, match="0 tokens"):
        engine.submit(late).result(60)
    handles = [
        engine.submit(Request("company0", None, [40 + i], 150, deadline=time.monotonic() + 0.03))
        for i in range(30)
    ]
    outcomes = []
    for handle in handles:
        try:
            outcomes.append(handle.result(60))
        except DeadlineExceeded as error:
            outcomes.append(error)
    assert any(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)


def test_cancelled_rows_leave_and_the_others_stay(engine: Engine) -> None:
    requests = [Request("company0", None, [60 + i], 60) for i in range(24)]
    expected = [engine.submit(request).result(60).tokens for request in requests]
    handles = [engine.submit(request) for request in requests]
    for handle in handles[::3]:
        handle.cancel()
    for i, handle in enumerate(handles):
        try:
            assert handle.result(60).tokens == expected[i]
        except Cancelled:
            assert i % 3 == 0
    assert any(isinstance(handle.outcome(), Cancelled) for handle in handles)


def test_random_cancels_and_deadlines_leave_nothing_behind(
    engine: Engine, adapters: list[AdapterRef]
) -> None:
    chance = random.Random(5)
    handles = []
    for i in range(80):
        adapter = chance.choice([None, *adapters])
        company = adapter.company if adapter else "company0"
        soon = time.monotonic() + chance.choice([0.001, 0.05, 60])
        request = Request(
            company, adapter, [5 + i, 6, 7], chance.choice([1, 20, 60]), deadline=soon
        )
        handles.append(engine.submit(request))
        if chance.random() < 0.3:
            chance.choice(handles).cancel()
    for handle in handles:
        try:
            handle.result(60)
        except EngineError as error:
            assert isinstance(error, Cancelled | DeadlineExceeded)
    engine.ping().result(60)  # The loop has seen the end of the last row.
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.kv_tokens) == (0, 0, 0)
    assert engine.model.cache.is_empty
    assert engine._pool.pins == 0


def test_what_a_broken_step_hits_fails_and_the_loop_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = type(engine.model).forward

    def broken(*arguments: object, **options: object) -> torch.Tensor:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(type(engine.model), "forward", broken)
        with pytest.raises(GenerationFailed, match="out of memory"):
            ask(engine)
    assert type(engine.model).forward is forward
    assert isinstance(ask(engine), str)


def test_what_a_broken_step_held_is_free_when_its_rows_run_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or memory that ran out for all of them together runs out for each of them too."""
    requests = [Request("company0", None, [60 + i], 20) for i in range(4)]
    expected = [engine.submit(request).result(60).tokens for request in requests]
    forward = type(engine.model).forward
    held: list[weakref.ref[torch.Tensor]] = []
    seen_alone: list[bool] = []

    def short_of_memory(
        model: LanguageModel, decoding: list[Piece], prompts: list[Piece], *rest: Any
    ) -> torch.Tensor:
        if len(decoding) + len(prompts) > 1:
            large = torch.empty(1)
            held.append(weakref.ref(large))
            raise torch.OutOfMemoryError("out of memory")
        if held:
            seen_alone.append(held[-1]() is None)
        return forward(model, decoding, prompts, *rest)

    monkeypatch.setattr(logging.getLogger("cyrex.engine.runner"), "disabled", True)
    monkeypatch.setattr(type(engine.model), "forward", short_of_memory)
    handles = [engine.submit(request) for request in requests]
    assert [handle.result(60).tokens for handle in handles] == expected
    assert seen_alone and all(seen_alone)


def test_a_prompt_whose_beginning_cannot_be_kept_is_answered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ask(engine, prompt=[70, *PROMPT])

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(type(engine.model.cache), "read", full)
    assert ask(engine, prompt=[71, *PROMPT]) and ask(engine, prompt=[70, *PROMPT]) == expected


def test_an_engine_whose_gpu_answers_errors_alone_ends(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process has a GPU that works."""
    stopped = threading.Event()
    engine = Engine(EngineConfig(str(base)), on_stopped=stopped.set)

    def broken(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(type(engine.model), "forward", broken)
    with pytest.raises(GenerationFailed, match="CUDA error"):
        ask(engine)
    assert not stopped.is_set()
    engine.model.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    with pytest.raises(GenerationFailed, match="CUDA error"):
        ask(engine)
    assert stopped.wait(10)
    with pytest.raises(EngineClosed):
        ask(engine)


def test_closing_finishes_or_fails_what_is_under_way(base: Path) -> None:
    engine = Engine(EngineConfig(str(base), max_batch=2))
    handles = [engine.submit(Request("company0", None, [60 + i], 100)) for i in range(20)]
    handles[0].result(60)
    engine.close(0)
    outcomes = [handle.outcome() for handle in handles]
    assert any(isinstance(outcome, EngineClosed) for outcome in outcomes)
    with pytest.raises(EngineClosed):
        engine.submit(Request("company0", None, PROMPT))
    with pytest.raises(EngineClosed):
        engine.ping()

    drained = Engine(EngineConfig(str(base), max_batch=2))
    handles = [drained.submit(Request("company0", None, [60 + i], 20)) for i in range(8)]
    drained.close(60)
    assert all(handle.result(0).tokens for handle in handles)


def test_nobody_waits_for_ever_on_an_engine_that_closes(base: Path) -> None:
    engine = Engine(EngineConfig(str(base)))
    outcomes: list[object] = []

    def caller() -> None:
        while True:
            try:
                outcomes.append(engine.submit(Request("company0", None, [9], 2)).result(60))
            except EngineClosed as error:
                outcomes.append(error)
                return

    threads = [threading.Thread(target=caller) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    engine.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert sum(isinstance(outcome, EngineClosed) for outcome in outcomes) == len(threads)


def test_a_base_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-model"):
        Engine(EngineConfig(str(tmp_path / "no-such-model")))
    (tmp_path / "empty").mkdir()
    with pytest.raises((OSError, ValueError)):
        Engine(EngineConfig(str(tmp_path / "empty")))
