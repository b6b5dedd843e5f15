"""The steps around the training itself: accept, register, announce; each may run twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cyrex import datasets
from cyrex.adapters.files import put_package
from cyrex.datasets import blob_store
from cyrex.errors import UserError
from cyrex.recovery.kinds import end
from cyrex.training import steps as training_steps
from cyrex.work.lease import Advance, Finish, Lease, Outcome
from database import claims
from database.models import Dataset, Example, LoraAdapter, TrainingEvent, TrainingRun
from database.session import company_session, operator_session
from database.transitions import TRAINING
from modelkit.registry import get_registry
from settings import get_settings
from synapse.streams import LORA_ADAPTER_READY
from tests.support import rows
from tests.support.database import idle_transactions
from tests.support.packages import write_package

pytestmark = pytest.mark.usefixtures("database_url")

Step = Callable[[TrainingRun, Lease], Outcome]


@pytest.fixture
def acme() -> str:
    return rows.company()


def claim(company_id: str, request_id: str, owner: str = "worker") -> tuple[TrainingRun, Lease]:
    run = rows.get(TrainingRun, request_id)
    step = str(run.step)
    lease = Lease(TRAINING, company_id, request_id, step, run.attempt, owner)
    with company_session(company_id) as session:
        row = lease.claim(session)
    assert row is not None
    return row, lease


def settle(lease: Lease, outcome: Outcome) -> None:
    """What `run_step` does with an outcome."""
    assert isinstance(outcome, Advance | Finish)
    with company_session(lease.company_id) as session:
        if isinstance(outcome, Advance):
            changed = lease.advance(session, **outcome.values)
        else:
            changed = lease.finish(session, outcome.status, **outcome.values)
        if outcome.in_transaction is not None:
            outcome.in_transaction(session, changed)
        if isinstance(outcome, Finish):
            end(session, TRAINING, changed)


def do(company_id: str, request_id: str, step: Step) -> TrainingRun:
    row, lease = claim(company_id, request_id)
    settle(lease, step(row, lease))
    found: TrainingRun = rows.get(TrainingRun, request_id)
    return found


def examples(dataset_id: str) -> list[Example]:
    with operator_session() as session:
        query = select(Example).where(Example.dataset_id == dataset_id).order_by(Example.line)
        return list(session.scalars(query))


# Accept: the real base model's tokenizer.


def test_a_store_that_is_slow_keeps_no_transaction_open(
    acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_then = []

    class Slow:
        def read(self, sha256: str) -> bytes:
            open_then.append(idle_transactions())
            return blob_store().read(sha256)

    request_id = rows.run(acme, status="admitted")
    monkeypatch.setattr(datasets, "blob_store", Slow)
    assert do(acme, request_id, training_steps.accept).step == "train"
    assert open_then == [0], "Postgres ends a transaction that is idle for a minute"


def test_accept_records_the_report_and_the_split(acme: str) -> None:
    lines = [{"input": f"question {n}", "output": f"answer {n}"} for n in range(60)]
    request_id = rows.run(acme, lines, status="admitted")
    run = do(acme, request_id, training_steps.accept)
    assert (run.status, run.step) == ("running", "train")
    report = rows.get(Dataset, run.dataset_id).report
    assert (report["examples"], report["problems"]) == (60, [])
    assert report["tokens"] > 60
    found = examples(run.dataset_id)
    assert [example.line for example in found] == list(range(1, 61))
    held_out = [example.line for example in found if example.split == "holdout"]
    assert 0 < len(held_out) < 30
    holdout = datasets.split_of(acme, run.dataset_id).holdout
    assert [json.loads(line) for line in holdout] == [lines[n - 1] for n in held_out]
    assert rows.events(request_id) == ["requested", "accepted"]


def test_accept_says_what_is_odd_about_the_data(acme: str) -> None:
    twice = {"input": "question", "output": "answer", "id": 7}
    lines = [twice, twice, {**twice, "output": "another"}, {"input": "word " * 600, "output": "x"}]
    request_id = rows.run(acme, lines, status="admitted")
    do(acme, request_id, training_steps.accept)
    with operator_session() as session:
        query = select(TrainingEvent).where(TrainingEvent.type == "accepted")
        event = session.scalars(query.where(TrainingEvent.request_id == request_id)).one()
    odd = {"truncated": 1, "nothing_to_learn": 1, "contradictions": 1, "duplicates": 1}
    assert event.data.items() >= {**odd, "ignored_fields": ["id"]}.items()
    counts = event.data["counts"]
    assert (counts["cut"], counts["dropped"], counts["ignored_fields"]) == (1, 1, {"id": 3})
    report = rows.get(Dataset, rows.get(TrainingRun, request_id).dataset_id).report
    assert report["counts"] == counts
    assert event.level == "warning"
    for said in ("cut off at max_length", "no answer to learn", "contradict", "repeat", "id"):
        assert said in event.message


def test_accept_twice_records_once(acme: str) -> None:
    request_id = rows.run(acme, status="admitted")
    do(acme, request_id, training_steps.accept)
    rows.change(TrainingRun, request_id, step="accept")
    run = do(acme, request_id, training_steps.accept)
    assert len(examples(run.dataset_id)) == len(rows.LINES)


def test_accept_refuses_another_base_model_by_name(acme: str) -> None:
    request_id = rows.run(acme, status="admitted", base_model="their-model")
    row, lease = claim(acme, request_id)
    with pytest.raises(UserError, match="their-model") as refused:
        training_steps.accept(row, lease)
    assert refused.value.param == "base_model"


def test_a_broken_base_model_is_said_and_not_tried_thrice(
    acme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken-model"
    broken.mkdir()
    (broken / "config.json").write_text('{"architectures": ["BertModel"]}')
    from cyrex.adapters.base_model import base_model_dir

    monkeypatch.setenv("BASE_MODEL_PATH", str(broken))
    get_settings.cache_clear()
    base_model_dir.cache_clear()
    try:
        request_id = rows.run(acme, status="admitted")
        row, lease = claim(acme, request_id)
        with pytest.raises(UserError, match="broken-model"):
            training_steps.accept(row, lease)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
        base_model_dir.cache_clear()


# Register and announce.


def trained(company_id: str, folder: Path, seed: int = 1) -> str:
    """A run whose package is in the blob store, evaluated, and which stands before `register`."""
    sha256 = put_package(blob_store(), write_package(folder / "package", seed))
    evaluation = {"champion_id": None, "sha256": sha256, "examples": 0, "scores": {}}
    return rows.run(
        company_id,
        status="running",
        step="register",
        package_sha256=sha256,
        evaluation=evaluation,
        metrics={"loss": 0.5},
    )


def adapter_of(request_id: str) -> LoraAdapter:
    with operator_session() as session:
        query = select(LoraAdapter).where(LoraAdapter.request_id == request_id)
        return session.scalars(query).one()


def test_register_gives_a_version_and_puts_the_bytes_into_the_registry(
    acme: str, tmp_path: Path
) -> None:
    request_id = trained(acme, tmp_path)
    run = do(acme, request_id, training_steps.register)
    adapter = adapter_of(request_id)
    assert (run.step, run.adapter_id) == ("announce", adapter.adapter_id)
    assert (adapter.version, adapter.status, adapter.adapter_type) == (1, "registered", "lora")
    assert adapter.sha256 == run.package_sha256
    assert adapter.evaluation == run.evaluation
    assert adapter.details["metrics"] == {"loss": 0.5}
    stored = get_registry(get_settings()).get_model(acme, 1)
    assert stored.sha256 == adapter.sha256
    assert stored.path == adapter.registry_path
    assert stored.metadata["adapter_id"] == adapter.adapter_id


def test_a_worker_that_dies_after_registering_is_followed_by_one_that_finds_its_work(
    acme: str, tmp_path: Path
) -> None:
    request_id = trained(acme, tmp_path)
    row, lease = claim(acme, request_id, "first")
    training_steps.register(row, lease)  # its end is never written
    with company_session(acme) as session:
        lease.release(session, row, "worker lost")
    do(acme, request_id, training_steps.register)
    adapter = adapter_of(request_id)
    assert adapter.version == 1
    assert [model.version for model in get_registry(get_settings()).list_models(acme)] == [1]


def test_a_fenced_worker_registers_nothing(acme: str, tmp_path: Path) -> None:
    request_id = trained(acme, tmp_path)
    row, lease = claim(acme, request_id, "first")
    with company_session(acme) as session:
        lease.release(session, row, "worker lost")
    with pytest.raises(claims.Lost):
        training_steps.register(row, lease)
    assert get_registry(get_settings()).list_models(acme) == []
    with operator_session() as session:
        assert not session.scalars(
            select(LoraAdapter).where(LoraAdapter.request_id == request_id)
        ).all()


def test_announce_ends_the_run_and_tells_of_its_adapter_in_one_transaction(
    acme: str, tmp_path: Path
) -> None:
    request_id = trained(acme, tmp_path)
    do(acme, request_id, training_steps.register)
    row, lease = claim(acme, request_id)
    outcome: Any = training_steps.announce_adapter(row, lease)
    with company_session(acme) as session:
        lease.release(session, row, "lost")
    with pytest.raises(claims.Lost):
        settle(lease, outcome)
    assert rows.announced(acme, LORA_ADAPTER_READY) == [], "a fenced worker announces nothing"

    run = do(acme, request_id, training_steps.announce_adapter)
    adapter = adapter_of(request_id)
    assert run.status == "succeeded"
    assert run.finished_at is not None
    (envelope,) = rows.announced(acme, LORA_ADAPTER_READY)
    assert envelope["event_id"] == f"{adapter.adapter_id}:ready"
    assert envelope["correlation_id"] == request_id
    assert envelope["data"]["sha256"] == adapter.sha256
    assert envelope["data"]["request_id"] == request_id
    assert rows.events(request_id)[-1] == "succeeded"
    assert not (get_settings().work_dir / request_id).exists()


def test_damaged_bytes_are_not_registered(acme: str, tmp_path: Path) -> None:
    request_id = trained(acme, tmp_path, seed=99)
    run = rows.get(TrainingRun, request_id)
    manifest = json.loads(blob_store().read(run.package_sha256))
    weights = next(f for f in manifest["files"] if f["path"].endswith(".safetensors"))
    path = blob_store().path(weights["sha256"])
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    row, lease = claim(acme, request_id)
    try:
        with pytest.raises(Exception, match="do not match"):
            training_steps.register(row, lease)
    finally:
        path.unlink()
    assert get_registry(get_settings()).list_models(acme) == []
