"""Asking for a training, following it, cancelling it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from cyrex import datasets
from cyrex.adapters.base_model import served_name
from cyrex.errors import Conflict, NotFound, UserError
from cyrex.tenants.service import lock_company
from cyrex.training import service as training
from cyrex.training.order import MAX_SEED, TrainingOrder
from cyrex.work.lease import Lease
from database.models import Base, Dataset, TrainingRun
from database.session import WEB, company_session, operator_session
from database.transitions import TRAINING
from synapse.payloads import TrainingRequested
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def acme() -> str:
    return rows.company()


def counts() -> dict[str, int]:
    with operator_session() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }


def view(company_id: str, request_id: str) -> dict[str, Any]:
    with company_session(company_id, WEB) as session:
        return training.training_view(session, training.get_training(session, request_id))


def test_a_request_is_a_dataset_a_run_and_an_event_in_one_transaction(acme: str) -> None:
    with company_session(acme, WEB) as session:
        order = TrainingOrder(acme, {"rank": 8}, use_qlora=False, seed=3)
        run = training.request_training(session, order, rows.stored(rows.LINES))
    found = rows.get(TrainingRun, run.request_id)
    assert (found.status, found.step, found.source) == ("requested", "accept", "api")
    assert (found.use_qlora, found.seed, found.attempt) == (False, 3, 1)
    assert found.config == {"lora_rank": 8}, "the guide's name is stored as ours"
    assert found.base_model == served_name()
    dataset = rows.get(Dataset, found.dataset_id)
    stored = datasets.blob_store().read(dataset.sha256)
    assert [json.loads(line) for line in stored.splitlines()] == rows.LINES
    assert (dataset.size_bytes, dataset.examples) == (len(stored), len(rows.LINES))
    (envelope,) = rows.announced(acme, "lora_training_requests")
    assert (envelope["event_id"], envelope["type"]) == (run.request_id, "training.requested")
    assert envelope["data"]["dataset_id"] == found.dataset_id
    assert envelope["data"]["config"] == found.config
    assert "training_data" not in envelope["data"], "data travels by reference"
    assert rows.events(run.request_id) == ["requested"]


def test_a_rollback_leaves_no_row_at_all(acme: str) -> None:
    before, data = counts(), rows.stored(rows.LINES)
    with pytest.raises(RuntimeError, match="stop"), company_session(acme, WEB) as session:
        training.request_training(session, TrainingOrder(acme), data)
        raise RuntimeError("stop")
    assert counts() == before


def test_any_text_survives_the_way_to_the_blob_and_back(acme: str) -> None:
    lines = [{"input": "a\nb\r\n\u2028\x85\x1c é 🙂", "output": {"text": "\ttab"}}]
    run = rows.get(TrainingRun, rows.run(acme, lines))
    stored = datasets.blob_store().read(rows.get(Dataset, run.dataset_id).sha256)
    assert [json.loads(line) for line in stored.splitlines()] == lines


def test_seeds_differ_unless_one_is_given(acme: str) -> None:
    data = rows.stored(rows.LINES)
    with company_session(acme) as session:
        order = TrainingOrder(acme)
        seeds = {training.request_training(session, order, data).seed for _ in range(5)}
    assert len(seeds) > 1
    assert all(0 <= seed < MAX_SEED for seed in seeds)


def test_a_run_is_its_companys_alone(acme: str) -> None:
    request_id = rows.run(acme)
    with company_session(rows.company("globex"), WEB) as session:
        for look in (training.get_training, training.cancel_training, training.training_events):
            with pytest.raises(NotFound):
                look(session, request_id)
        assert training.list_trainings(session) == []
    assert rows.get(TrainingRun, request_id).cancel_requested is False


def test_runs_are_listed_newest_first_and_by_status(acme: str) -> None:
    made = [rows.run(acme) for _ in range(4)]
    rows.change(TrainingRun, made[1], status="failed")
    with company_session(acme, WEB) as session:
        first = training.list_trainings(session, limit=3)
        rest = training.list_trainings(session, limit=3, after=first[-1].request_id)
        failed = training.list_trainings(session, status="failed")
    assert [run.request_id for run in first + rest] == made[::-1]
    assert [run.request_id for run in failed] == [made[1]]


def test_events_are_followed_from_the_last_one_seen(acme: str) -> None:
    request_id = rows.run(acme)
    with company_session(acme) as session:
        run = training.get_training(session, request_id)
        for name in ("accepted", "training"):
            training.add_event(session, run, name, f"it is {name}", {"at": name})
    with company_session(acme, WEB) as session:
        first = training.training_events(session, request_id, limit=2)
        rest = training.training_events(session, request_id, after=first[-1].id)
        with pytest.raises(NotFound):
            training.training_events(session, "unknown")
    assert [event.type for event in first + rest] == ["requested", "accepted", "training"]
    assert rest[0].data == {"at": "training"}


@pytest.mark.parametrize("status", ["requested", "queued", "admitted", "running"])
def test_a_run_that_nobody_has_is_cancelled_at_once(acme: str, status: str) -> None:
    request_id = rows.run(acme, status=status)
    with company_session(acme, WEB) as session:
        run = training.cancel_training(session, request_id)
        assert run.status == "cancelled"
    found = rows.get(TrainingRun, request_id)
    assert (found.status, found.cancel_requested) == ("cancelled", True)
    assert found.finished_at is not None
    assert rows.events(request_id)[-1] == "cancelled"
    assert view(acme, request_id)["status"] == "cancelled"


def test_a_run_that_a_worker_takes_meanwhile_is_not_called_cancelled(acme: str) -> None:
    request_id = rows.claimable(TRAINING, acme)
    with company_session(acme, WEB) as session:
        assert training.get_training(session, request_id).status == "admitted"
        with company_session(acme) as other:
            Lease(TRAINING, acme, request_id, "accept", 1, "worker").claim(other)
        asked = training.cancel_training(session, request_id)
        assert (asked.status, asked.cancel_requested) == ("running", True)


def test_a_run_that_a_worker_has_is_asked_to_stop(acme: str) -> None:
    request_id = rows.claimable(TRAINING, acme)
    lease = Lease(TRAINING, acme, request_id, "accept", 1, "worker")
    with company_session(acme) as session:
        lease.claim(session)
    for _ in range(2):  # asking twice is asking once
        with company_session(acme, WEB) as session:
            training.cancel_training(session, request_id)
    found = rows.get(TrainingRun, request_id)
    assert (found.status, found.cancel_requested, found.lease_owner) == ("running", True, "worker")
    with company_session(acme) as session:
        seen = lease.write(session)
        assert seen.cancel_requested, "the owner sees it when it renews"


@pytest.mark.parametrize("status", TRAINING.terminal)
def test_an_ended_run_is_not_cancelled(acme: str, status: str) -> None:
    request_id = rows.run(acme, status=status)
    before = rows.columns(rows.get(TrainingRun, request_id))
    with company_session(acme, WEB) as session, pytest.raises(Conflict, match=status):
        training.cancel_training(session, request_id)
    assert rows.columns(rows.get(TrainingRun, request_id)) == before


def test_the_position_counts_what_comes_before_when_companies_take_turns(acme: str) -> None:
    with operator_session() as session:
        unfinished = TrainingRun.status.not_in(TRAINING.terminal)
        session.execute(update(TrainingRun).where(unfinished).values(status="succeeded"))
    globex = rows.company("globex")
    first, second = rows.run(globex, status="running"), rows.run(globex, status="queued")
    mine = rows.run(acme, status="queued")
    rows.run(globex)
    assert view(acme, mine)["position"] == 1, "globex's second comes after acme's first"
    assert view(globex, second)["position"] == 2
    rows.change(TrainingRun, first, status="succeeded")
    assert view(acme, mine)["position"] == 1, "it was asked for after globex's first"
    next_one = rows.run(acme)
    assert view(acme, next_one)["position"] == 3
    rows.change(TrainingRun, mine, status="running")
    assert view(acme, mine)["position"] is None


def test_a_view_is_json(acme: str) -> None:
    request_id = rows.run(acme)
    shown = view(acme, request_id)
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["step"], shown["adapter_id"], shown["error"]) == ("accept", None, None)
    adapter_id = rows.adapter(acme, status="ready")
    rows.change(TrainingRun, request_id, status="succeeded", adapter_id=adapter_id)
    shown = view(acme, request_id)
    assert (shown["step"], shown["position"], shown["adapter_status"]) == (None, None, "ready")


def wanted(company_id: str, **values: Any) -> TrainingRequested:
    known = {"request_id": f"outside-{company_id}", "training_data": rows.LINES}
    return TrainingRequested.model_validate({"company_id": company_id, **known, **values})


def test_an_outside_run_is_queued_under_its_own_id(acme: str) -> None:
    with operator_session() as session:
        run = training.accept_from_stream(session, wanted(acme, config={"rank": 4}, seed=5))
    found = rows.get(TrainingRun, f"outside-{acme}")
    assert (found.status, found.source, found.seed) == ("queued", "stream", 5)
    assert found.config == {"lora_rank": 4}
    assert found.queued_at is not None
    assert found.correlation_id == run.request_id
    assert rows.announced(acme, "lora_training_requests") == [], "it came from there"


def test_nobody_waits_while_an_outside_runs_data_is_stored(
    acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = datasets.store

    def slow(*given: Any) -> datasets.StoredLines:
        with operator_session() as other:
            other.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert lock_company(other, acme), "its jobs are admitted meanwhile"
        return real(*given)

    monkeypatch.setattr(datasets, "store", slow)
    with operator_session() as session:
        training.accept_from_stream(session, wanted(acme))
    assert rows.get(TrainingRun, f"outside-{acme}").status == "queued"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"training_data": [{"input": "x"}]}, "training_data[0].output"),
        ({"training_data": []}, "training_data"),
        ({"training_data": [7]}, "training_data[0]"),
        ({"config": {"lora_rank": 0}}, "config.lora_rank"),
        ({"base_model": "other/model"}, "base_model"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**70}, "seed"),
    ],
)
def test_a_bad_outside_request_writes_nothing(acme: str, values: dict[str, Any], said: str) -> None:
    before = counts()
    with pytest.raises(UserError) as refused, operator_session() as session:
        training.accept_from_stream(session, wanted(acme, **values))
    assert said in refused.value.message
    assert counts() == before
