"""What a company's trainings learn and hold out, one after another: old rows, new rows, sets of
its own to evaluate on. The database and the base model's tokenizer are the real ones."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from cyrex import datasets
from cyrex.datasets import blob_store
from cyrex.errors import UserError
from cyrex.recovery.blob_sweep import sweep
from cyrex.training import service as training
from cyrex.training.acceptance import place, validation_of, with_lines
from cyrex.training.order import TrainingOrder
from cyrex.training.steps import accept
from cyrex.work.lease import Advance, Lease
from database.models import Dataset, TrainingRun
from database.session import company_session
from database.transitions import TRAINING
from helox.check import Report, read_records
from settings import get_settings
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")

NAMES = [
    "pump",
    "valve",
    "fan",
    "belt",
    "motor",
    "gear",
    "lamp",
    "hose",
    "seal",
    "bolt",
    "screw",
    "plate",
]

Rows = list[dict[str, Any]]


@pytest.fixture
def acme() -> str:
    return rows.company()


def arrivals(count: int = 60) -> Rows:
    return [
        {
            "input": f"The {NAMES[i % 12]} number {i} came",
            "output": "late" if i % 12 < 6 else "soon",
        }
        for i in range(count)
    ]


def halls(count: int = 48) -> Rows:
    return [
        {
            "input": f"Send {NAMES[i % 12]} {i} to which hall?",
            "output": "north" if i % 2 else "south",
        }
        for i in range(count)
    ]


def chats(greeting: str, numbers: range) -> Rows:
    return [
        {
            "messages": [
                {"role": "user", "content": greeting},
                {"role": "assistant", "content": "Hello, which part?"},
                {"role": "user", "content": f"The {NAMES[i % 12]} {i}, is it big or small?"},
                {"role": "assistant", "content": "big" if i % 12 < 6 else "small"},
            ]
        }
        for i in numbers
    ]


def request(
    company_id: str, lines: Rows, validation: Rows | None = None, replace: bool = False
) -> str:
    written = [datasets.jsonl(line) for line in lines]
    own = [datasets.jsonl(line) for line in validation or []]
    data = datasets.store(written, None, own, replace)
    with company_session(company_id) as session:
        order = TrainingOrder(company_id, seed=7, replace=replace)
        run = training.request_training(session, order, data)
    return run.request_id


def accepted(company_id: str, request_id: str) -> tuple[Rows, Rows, dict[str, int]]:
    """What the run is trained on, what is held out, and the counts."""
    run = rows.get(TrainingRun, request_id)
    outcome = accept(run, Lease(TRAINING, company_id, request_id, "accept", 1, "worker"))
    assert isinstance(outcome, Advance)
    assert outcome.in_transaction is not None
    with company_session(company_id) as session:
        outcome.in_transaction(session, session.get_one(TrainingRun, request_id))
    split = datasets.split_of(company_id, run.dataset_id)
    report = rows.get(Dataset, run.dataset_id).report
    assert report["counts"]["held_out"] == len(split.holdout)
    train, holdout = ([json.loads(line) for line in side] for side in (split.train, split.holdout))
    return train, holdout, report["split"]


def finish(request_id: str, status: str = "succeeded") -> None:
    rows.change(TrainingRun, request_id, status=status, finished_at=datetime.now(UTC))


def trained(
    company_id: str, lines: Rows, validation: Rows | None = None, replace: bool = False
) -> tuple[Rows, Rows, dict[str, int]]:
    request_id = request(company_id, lines, validation, replace)
    found = accepted(company_id, request_id)
    finish(request_id)
    return found


def questions(lines: Rows) -> set[str]:
    return {str(line.get("input") or line["messages"]) for line in lines}


def test_one_new_row_is_learned_with_the_old_ones_and_keeps_their_hold_out(acme: str) -> None:
    old, held, _ = trained(acme, arrivals())
    assert len(held) == 10
    new = {"input": "The crane number 5 came", "output": "never"}
    train, again, counts = trained(acme, [new])
    assert again == held
    assert train == [*old, new]
    assert counts["sent"] == 1
    assert counts["from_before"] == 60
    assert (counts["trained"], counts["held_out"]) == (51, 10)


def test_a_second_task_is_judged_on_both(acme: str) -> None:
    _, held, _ = trained(acme, arrivals(48))
    train, again, _ = trained(acme, halls())
    assert questions(held) < questions(again)
    tasks = Counter("hall" in line["input"] for line in again)
    assert tasks[True] > 0, "the new task is judged too"
    assert len(train) + len(again) == 96


def test_what_was_held_out_before_is_marked_as_old(acme: str) -> None:
    trained(acme, arrivals(200))
    request_id = request(acme, halls(200))
    accepted(acme, request_id)
    split = datasets.split_of(acme, rows.get(TrainingRun, request_id).dataset_id)
    marked = {
        json.loads(line)["input"]: old for line, old in zip(split.holdout, split.old, strict=True)
    }
    assert all(old is ("came" in question) for question, old in marked.items())
    assert set(marked.values()) == {True, False}


def test_replace_trains_on_the_new_rows_alone_and_holds_out_what_it_did_before(acme: str) -> None:
    _, held, _ = trained(acme, arrivals())
    kept = arrivals()[:30] + halls(30)
    train, again, counts = trained(acme, kept, replace=True)
    assert questions(train) | questions(again) == questions(kept)
    assert counts["from_before"] == 0
    still = questions(held) & questions(kept)
    assert still <= questions(again)
    assert not questions(again) & (questions(arrivals()) - questions(held))


def test_a_corrected_row_takes_the_place_of_the_old_one_on_its_side(acme: str) -> None:
    old, held, _ = trained(acme, arrivals())
    corrected = [{**held[0], "output": "never"}, {**old[0], "output": "never"}]
    train, again, counts = trained(acme, corrected)
    assert counts["replaced"] == 2
    assert corrected[0] in again
    assert held[0] not in [*train, *again]
    assert corrected[1] in train
    assert old[0] not in [*train, *again]
    assert len(train) + len(again) == 60


def test_what_is_held_out_is_never_trained_on_over_many_trainings(acme: str) -> None:
    ever_held: set[str] = set()
    ever_trained: set[str] = set()
    for sent, replace in (
        (arrivals(40), False),
        (chats("Hello", range(30)), False),
        (arrivals(90) + halls(20), False),
        (chats("Hello", range(20, 60)) + halls(300), False),
        (arrivals(120) + chats("Hello", range(90)), True),
    ):
        train, holdout, _ = trained(acme, sent, replace=replace)
        ever_held |= questions(holdout)
        ever_trained |= questions(train)
        assert not ever_held & ever_trained
    assert len(ever_held) > 30


@pytest.mark.parametrize("alike", [54, 60])
def test_chats_that_open_alike_fall_on_both_sides(acme: str, alike: int) -> None:
    sent = chats("Good afternoon", range(alike)) + chats("Hi", range(alike, 60))
    train, holdout, _ = trained(acme, sent)
    assert len(holdout) == 10
    assert len(train) == 50


def test_the_last_row_of_a_label_is_learned(acme: str) -> None:
    for number in range(8):
        rare = {"input": f"I want my money back for order {number}", "output": "refund"}
        train, _, _ = trained(rows.company(), [*arrivals(), rare])
        assert rare in train


def test_a_validation_set_takes_the_place_of_the_split(acme: str) -> None:
    own = halls(12)
    train, holdout, counts = trained(acme, arrivals(), own)
    assert (train, holdout) == (arrivals(), own)
    assert counts["held_out"] == 12


def test_rows_that_the_validation_set_asks_too_are_not_trained_on(acme: str) -> None:
    own = [{**line, "output": "asked again"} for line in arrivals()[:15]]
    train, holdout, counts = trained(acme, arrivals(), own)
    assert train == arrivals()[15:]
    assert holdout == own
    assert counts["asked_by_validation"] == 15


def test_a_validation_set_is_not_asked_what_an_earlier_training_learned(acme: str) -> None:
    old, held, _ = trained(acme, arrivals())
    own = [old[0], held[0], *halls(4)]
    train, holdout, counts = trained(acme, halls(20)[4:], own)
    assert counts["validation_seen_before"] == 1
    assert old[0] in train
    assert old[0] not in holdout
    assert questions(holdout) == questions(held) | questions(halls(4))
    assert len(holdout) == len(held) + 4, "a row that was held out before is there once"


def test_two_trainings_that_are_accepted_at_once_agree_on_the_sides(acme: str) -> None:
    first, second = request(acme, arrivals(40)), request(acme, arrivals(60))
    train, holdout, _ = accepted(acme, first)
    other_train, other_holdout, counts = accepted(acme, second)
    assert counts["from_before"] == 0, "the first has not ended"
    assert not questions(train) & questions(other_holdout)
    assert not questions(holdout) & questions(other_train)
    finish(first)
    finish(second)
    _, _, counts = trained(acme, halls(4))
    assert counts["from_before"] == 60


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_rows_of_a_training_that_made_no_adapter_are_not_added(acme: str, status: str) -> None:
    trained(acme, arrivals(40))
    lost = request(acme, halls(40))
    accepted(acme, lost)
    finish(lost, status)
    _, _, counts = trained(acme, halls(2))
    assert counts["from_before"] == 40


def test_too_many_rows_with_those_from_before_are_refused_by_their_numbers(
    acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(acme, arrivals(40))
    request_id = request(acme, halls(20))
    run = rows.get(TrainingRun, request_id)
    dataset = rows.get(Dataset, run.dataset_id)
    lines = datasets.lines_of(dataset.sha256)
    own = with_lines(list(read_records(lines, Report())), lines)
    monkeypatch.setenv("MAX_TRAINING_EXAMPLES", "50")
    get_settings.cache_clear()
    try:
        with pytest.raises(UserError, match="20 examples and 40 from before, the limit is 50"):
            place(run, dataset, own, [], 0.1)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_accepting_twice_keeps_the_first_split(acme: str) -> None:
    request_id = request(acme, arrivals())
    assert accepted(acme, request_id) == accepted(acme, request_id)


def test_another_companys_rows_are_not_read(acme: str) -> None:
    trained(rows.company("globex"), arrivals())
    _, _, counts = trained(acme, halls(4))
    assert (counts["from_before"], counts["trained"]) == (0, 4)


def test_every_blob_of_a_dataset_survives_the_sweep(acme: str) -> None:
    trained(acme, arrivals())
    request_id = request(acme, halls(30), arrivals(3))
    accepted(acme, request_id)
    finish(request_id)
    dataset = rows.get(Dataset, rows.get(TrainingRun, request_id).dataset_id)
    named = [dataset.sha256, dataset.validation_sha256, dataset.merged_sha256]
    assert len(set(named)) == 3
    assert None not in named
    sweep(0)
    for sha256 in named:
        assert blob_store().read(str(sha256))
    assert validation_of(dataset)
