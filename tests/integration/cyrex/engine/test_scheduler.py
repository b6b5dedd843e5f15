"""Whose turn it is, step by step and without the loop's thread."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cyrex.engine import AdapterRef, Cancelled, EngineConfig, Handle, Request
from cyrex.engine.batch import PREFILL_TOKENS, Batch, Row, _groups
from cyrex.engine.model import LanguageModel
from cyrex.engine.scheduler import TURN_STEPS, Scheduler


@pytest.fixture(scope="module")
def model(base: Path) -> LanguageModel:
    return LanguageModel(EngineConfig(str(base)))


def row(model: LanguageModel, company: str, ref: AdapterRef | None = None, **options: int) -> Row:
    length, tokens = options.get("length", 4), options.get("tokens", 20)
    return Row(Handle(Request(company, ref, [9] * length, tokens)), model)


def scheduler(model: LanguageModel, max_batch: int = 8, kv_tokens: int = 10_000) -> Scheduler:
    return Scheduler(lambda key: Batch(model, key), max_batch, kv_tokens)


def play(chosen: Scheduler, turns: int) -> list[str]:
    """Run some turns; the company of each."""
    companies = []
    with torch.inference_mode():
        for _ in range(turns):
            turn = chosen.next()
            if turn is None:
                break
            rows = turn.admitted or turn.batch.live
            companies.append(rows[0].handle.request.company)
            if turn.admitted:
                turn.batch.admit(turn.admitted)
            for _ in range(turn.steps):
                if turn.batch.live:
                    turn.batch.step()
    return companies


def test_companies_take_turns(model: LanguageModel) -> None:
    chosen = scheduler(model)
    for company in ("a", "a", "b", "c"):
        chosen.add(row(model, company, tokens=100))
    assert play(chosen, 6) == ["a", "b", "c", "a", "b", "c"]


def test_a_company_alone_gets_one_step_a_turn(model: LanguageModel) -> None:
    chosen = scheduler(model)
    chosen.add(row(model, "a", tokens=100))
    play(chosen, 1)
    alone = chosen.next()
    chosen.add(row(model, "b"))
    shared = chosen.next()
    assert alone is not None
    assert shared is not None
    assert (alone.steps, shared.steps) == (1, TURN_STEPS)


def test_a_batch_holds_one_adapter(model: LanguageModel, adapters: list[AdapterRef]) -> None:
    first, second = adapters[0], adapters[2]
    assert first.company == second.company
    chosen = scheduler(model)
    for ref in (first, second, first, None, first):
        chosen.add(row(model, first.company, ref))
    turn = chosen.next()
    assert turn is not None
    assert [r.key for r in turn.admitted] == [first.key] * 3
    with torch.inference_mode():
        turn.batch.admit(turn.admitted)
    following = chosen.next()
    assert following is not None
    assert following.admitted == []
    for running in turn.admitted:
        running.fail(Cancelled("x"))
    keys = []
    while (following := chosen.next()) is not None:
        keys += [r.key for r in following.admitted]
        following.batch.rows = []
        for running in following.admitted:
            running.fail(Cancelled("x"))
    assert keys == [second.key, None]


def test_a_full_cache_blocks_everybody_until_the_next_row_fits(model: LanguageModel) -> None:
    chosen = scheduler(model, kv_tokens=100)
    chosen.add(row(model, "a", length=4, tokens=60))
    assert play(chosen, 1) == ["a"]
    chosen.add(row(model, "b", length=4, tokens=60))
    chosen.add(row(model, "c", length=4, tokens=4))
    companies = play(chosen, 40)
    assert companies.index("b") < companies.index("c")


def test_a_row_above_the_budget_runs_alone(model: LanguageModel) -> None:
    chosen = scheduler(model, kv_tokens=10)
    for company in ("a", "b"):
        chosen.add(row(model, company, tokens=30))
    assert set(play(chosen, 100)) == {"a", "b"}
    assert not chosen.has_work()


def test_max_batch_is_never_exceeded(model: LanguageModel) -> None:
    chosen = scheduler(model, max_batch=3)
    for _ in range(10):
        chosen.add(row(model, "a", tokens=6))
    largest = 0
    for _ in range(100):
        if not play(chosen, 1):
            break
        largest = max([largest, *(len(batch.live) for batch in chosen.running())])
    assert largest == 3
    assert not chosen.has_work()


def test_rows_that_gave_up_while_they_waited_never_start(model: LanguageModel) -> None:
    chosen = scheduler(model)
    rows = [row(model, "a") for _ in range(3)]
    for waiting in rows:
        chosen.add(waiting)
    rows[1].handle.cancel()
    turn = chosen.next()
    assert turn is not None
    assert turn.admitted == [rows[0], rows[2]]
    with pytest.raises(Cancelled):
        rows[1].handle.result(0)


def test_rows_of_like_length_are_read_together(model: LanguageModel) -> None:
    rows = [row(model, "a", length=length) for length in [150, 1] * 40]
    groups = list(_groups(rows))
    assert sorted(map(id, rows)) == sorted(id(r) for group in groups for r in group)
    for group in groups:
        assert len(group) * max(len(r.prompt) for r in group) <= PREFILL_TOKENS
    padding = sum(max(len(r.prompt) for r in g) * len(g) for g in groups) / (151 * 40)
    assert padding < 1.5
