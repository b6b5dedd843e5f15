"""Trainings and adapters over HTTP: asked for, followed, cancelled, listed."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from cyrex.training import service as training
from cyrex.training.service import add_event, blob_store
from database import claims
from database.models import AdapterAlias, Dataset, LoraAdapter, Outbox, TrainingRun, Worker
from database.session import company_session, get_engine, operator_session
from database.transitions import TRAINING
from tests import rows
from tests.integration.web.support import LINES, Api, Tenant, error_of, row_counts
from web.shapes import answers

TRAININGS = "/company-automation/training"
ADAPTERS = "/company-automation/adapters"


def asked(response: object) -> answers.TrainingRequested:
    assert getattr(response, "status_code") == 202, getattr(response, "text")  # noqa: B009
    return answers.TrainingRequested.model_validate(getattr(response, "json"))  # noqa: B009


def test_a_request_stores_data_run_and_event_together(acme: Tenant) -> None:
    before = row_counts()
    config = {"lora_rank": 4, "num_epochs": 1}
    response = acme.api.train(config=config, use_qlora=False, seed=7)
    made = asked(response)
    assert (made.status, made.company_id) == ("requested", acme.company_id)
    assert "4 examples" in made.message
    assert response.headers["Location"] == made.links.self == f"{TRAININGS}/{made.request_id}"
    added = {
        table: after - before[table]
        for table, after in row_counts().items()
        if after != before[table]
    }
    assert added == {"datasets": 1, "training_runs": 1, "outbox": 1, "training_events": 1}
    with operator_session() as session:
        run = session.get_one(TrainingRun, made.request_id)
        dataset = session.get_one(Dataset, run.dataset_id)
        event = session.scalars(select(Outbox).where(Outbox.event_id == made.request_id)).one()
    assert (run.config, run.use_qlora, run.seed) == (config, False, 7)
    stored = blob_store().read(dataset.sha256).decode().splitlines()
    assert [json.loads(line) for line in stored] == LINES
    assert event.stream == "lora_training_requests"


def test_a_slow_store_holds_no_connection_to_the_database(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    store = training.store

    def slow(lines: list[object]) -> training.StoredLines:
        held.append(get_engine().pool.checkedout())  # type: ignore[attr-defined]
        return store(lines)

    monkeypatch.setattr(training, "store", slow)
    assert acme.api.train().status_code == 202
    assert held == [0]


def test_a_training_is_followed(acme: Tenant) -> None:
    made = asked(acme.api.train())
    with company_session(acme.company_id) as session:
        run = session.get_one(TrainingRun, made.request_id)
        for step in range(3):
            add_event(session, run, "progress", f"step {step}", {"step": step})
    seen = answers.Training.model_validate(acme.api.get(made.links.self).json)
    assert (seen.status, seen.step, seen.error) == ("requested", "accept", None)
    assert seen.position is not None
    first = answers.TrainingEvents.model_validate(acme.api.get(made.links.events).json)
    assert [event.type for event in first.events] == ["requested", *["progress"] * 3]
    page = acme.api.get(f"{made.links.events}?after={first.events[1].id}&limit=1")
    second = answers.TrainingEvents.model_validate(page.json)
    assert [event.data for event in second.events] == [{"step": 1}]
    end = acme.api.get(f"{made.links.events}?after={first.next_after}")
    none = answers.TrainingEvents.model_validate(end.json)
    assert (none.events, none.next_after) == ([], first.next_after)


def test_a_failed_training_says_why(acme: Tenant) -> None:
    made = asked(acme.api.train())
    error = {"code": "loss_not_finite", "message": "the loss is NaN at step 3"}
    with company_session(acme.company_id) as session:
        claims.move(session, TRAINING, made.request_id, "failed", error=error)
    seen = answers.Training.model_validate(acme.api.get(made.links.self).json)
    assert (seen.status, seen.step, seen.error) == ("failed", None, error)
    error_of(acme.api.post(made.links.cancel), 409, "already_ended")


def test_a_training_is_cancelled_and_leaves_the_queue(acme: Tenant) -> None:
    made = asked(acme.api.train())
    cancelled = acme.api.post(made.links.cancel)
    assert answers.Training.model_validate(cancelled.json).status == "cancelled"
    assert answers.Training.model_validate(acme.api.get(made.links.self).json).position is None
    error_of(acme.api.post(made.links.cancel), 409, "already_ended")


def test_trainings_are_listed_by_status_and_page(acme: Tenant, operator: Api) -> None:
    made = [asked(acme.api.train()).request_id for _ in range(3)]
    acme.api.post(f"{TRAININGS}/{made[0]}/cancel")
    page = answers.Trainings.model_validate(acme.api.get(f"{TRAININGS}?limit=2").json)
    assert [run.request_id for run in page.training] == made[:0:-1]
    rest = acme.api.get(f"{TRAININGS}?limit=2&after={page.next_after}")
    assert [run.request_id for run in answers.Trainings.model_validate(rest.json).training] == [
        made[0]
    ]
    listed = operator.get(f"{TRAININGS}?status=cancelled&company_id={acme.company_id}")
    assert [run.request_id for run in answers.Trainings.model_validate(listed.json).training] == [
        made[0]
    ]


def new_adapter(company_id: str, version: int, champion: bool = False) -> str:
    with company_session(company_id) as session:
        adapter = LoraAdapter(
            company_id=company_id,
            version=version,
            base_model="base",
            base_model_revision="main",
            adapter_type="qlora",
            status="ready",
            config={"lora_rank": 4},
            details={"note": "n"},
        )
        session.add(adapter)
        session.flush()
        if champion:
            session.add(AdapterAlias(company_id=company_id, champion_id=adapter.adapter_id))
        return adapter.adapter_id


def test_adapters_are_listed_with_the_one_that_answers(acme: Tenant, globex: Tenant) -> None:
    first = new_adapter(acme.company_id, 1, champion=True)
    second = new_adapter(acme.company_id, 2)
    new_adapter(globex.company_id, 1, champion=True)
    listed = answers.Adapters.model_validate(acme.api.get(ADAPTERS).json).adapters
    assert [(a.adapter_id, a.champion) for a in listed] == [(second, False), (first, True)]
    shown = answers.ResidentAdapter.model_validate(acme.api.get(f"{ADAPTERS}/{first}").json)
    assert shown.model_dump(exclude={"resident"}) == listed[1].model_dump()
    assert shown.resident == []
    none = acme.api.get(f"{ADAPTERS}?status=retired&company_id={acme.company_id}")
    assert answers.Adapters.model_validate(none.json).adapters == []


def test_an_adapter_tells_which_live_workers_hold_it(acme: Tenant, globex: Tenant) -> None:
    adapter_id = rows.adapter(acme.company_id)
    held = {"resident": [{"company_id": acme.company_id, "adapter_id": adapter_id, "bytes": 1}]}
    for node, age in (("inference@a", 0.0), ("inference@dead", 60.0)):
        rows.change(Worker, rows.worker(node, age), details=held)
    shown = acme.api.get(f"{ADAPTERS}/{adapter_id}").json
    assert answers.ResidentAdapter.model_validate(shown).resident == ["inference@a"]
    assert globex.api.get(f"{ADAPTERS}/{adapter_id}").status_code == 404
