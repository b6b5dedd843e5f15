"""Trainings over HTTP: requested, followed, cancelled, listed."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from sqlalchemy import select

from cyrex import datasets
from cyrex.datasets import blob_store
from cyrex.training.service import add_event
from database import claims
from database.models import Dataset, Outbox, TrainingRun
from database.session import company_session, get_engine, operator_session
from database.transitions import TRAINING
from tests.support.database import row_counts
from tests.support.web import LINES, Api, Tenant, error_of
from web.shapes import training as shapes

TRAININGS = "/company-automation/training"
TRAIN = "/company-automation/train-adapter"
FORM = "multipart/form-data"


def asked(response: object) -> shapes.TrainingAccepted:
    assert getattr(response, "status_code") == 202, getattr(response, "text")  # noqa: B009
    return shapes.TrainingAccepted.model_validate(getattr(response, "json"))  # noqa: B009


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
    store = datasets.store

    def slow(*arguments: Any) -> datasets.StoredLines:
        held.append(get_engine().pool.checkedout())  # type: ignore[attr-defined]
        return store(*arguments)

    monkeypatch.setattr(datasets, "store", slow)
    assert acme.api.train().status_code == 202
    assert held == [0]


def test_a_training_is_followed(acme: Tenant) -> None:
    made = asked(acme.api.train())
    with company_session(acme.company_id) as session:
        run = session.get_one(TrainingRun, made.request_id)
        for step in range(3):
            add_event(session, run, "progress", f"step {step}", {"step": step})
    seen = shapes.TrainingView.model_validate(acme.api.get(made.links.self).json)
    assert (seen.status, seen.step, seen.error) == ("requested", "accept", None)
    assert seen.position is not None
    first = shapes.TrainingEvents.model_validate(acme.api.get(made.links.events).json)
    assert [event.type for event in first.events] == ["requested", *["progress"] * 3]
    page = acme.api.get(f"{made.links.events}?after={first.events[1].id}&limit=1")
    second = shapes.TrainingEvents.model_validate(page.json)
    assert [event.data for event in second.events] == [{"step": 1}]
    end = acme.api.get(f"{made.links.events}?after={first.next_after}")
    none = shapes.TrainingEvents.model_validate(end.json)
    assert (none.events, none.next_after) == ([], first.next_after)


def test_a_failed_training_says_why(acme: Tenant) -> None:
    made = asked(acme.api.train())
    error = {"code": "loss_not_finite", "message": "the loss is NaN at step 3"}
    with company_session(acme.company_id) as session:
        claims.move(session, TRAINING, made.request_id, "failed", error=error)
    seen = shapes.TrainingView.model_validate(acme.api.get(made.links.self).json)
    assert (seen.status, seen.step, seen.error) == ("failed", None, error)
    error_of(acme.api.post(made.links.cancel), 409, "already_ended")


def test_a_training_is_cancelled_and_leaves_the_queue(acme: Tenant) -> None:
    made = asked(acme.api.train())
    cancelled = acme.api.post(made.links.cancel)
    assert shapes.TrainingView.model_validate(cancelled.json).status == "cancelled"
    assert shapes.TrainingView.model_validate(acme.api.get(made.links.self).json).position is None
    error_of(acme.api.post(made.links.cancel), 409, "already_ended")


def test_trainings_are_listed_by_status_and_page(acme: Tenant, operator: Api) -> None:
    made = [asked(acme.api.train()).request_id for _ in range(3)]
    acme.api.post(f"{TRAININGS}/{made[0]}/cancel")
    page = shapes.Trainings.model_validate(acme.api.get(f"{TRAININGS}?limit=2").json)
    assert [run.request_id for run in page.training] == made[:0:-1]
    rest = acme.api.get(f"{TRAININGS}?limit=2&after={page.next_after}")
    assert [run.request_id for run in shapes.Trainings.model_validate(rest.json).training] == [
        made[0]
    ]
    listed = operator.get(f"{TRAININGS}?status=cancelled&company_id={acme.company_id}")
    assert [run.request_id for run in shapes.Trainings.model_validate(listed.json).training] == [
        made[0]
    ]


MANY = [{"input": f"question {n}", "output": f"answer {n}"} for n in range(40)]
OWN = [{"input": f"own question {n}", "output": f"answer {n}"} for n in range(3)]


def row_of(tenant: Tenant, request_id: str) -> tuple[TrainingRun, Dataset]:
    with company_session(tenant.company_id) as session:
        run = session.get_one(TrainingRun, request_id)
        return run, session.get_one(Dataset, run.dataset_id)


def test_a_set_to_evaluate_on_is_sent_beside_the_rows(acme: Tenant) -> None:
    made = asked(
        acme.api.train(validation_data=OWN, replace=True, promote="always", config={"lora_rank": 4})
    )
    assert made.counts is not None
    assert (made.counts["held_out"], made.counts["validation"]) == (3, 3)
    run, dataset = row_of(acme, made.request_id)
    assert (run.promote, dataset.replaces) == ("always", True)
    own = blob_store().read(str(dataset.validation_sha256)).decode().splitlines()
    assert [json.loads(line) for line in own] == OWN
    seen = shapes.TrainingView.model_validate(acme.api.get(made.links.self).json)
    assert (seen.promote, seen.replace, seen.continue_from, seen.split) == (
        "always",
        True,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"validation_data": [*OWN, {"input": "x"}]}, "validation_data[3].output"),
        ({"validation_data": []}, "validation_data"),
        ({"validation_data": [{"input": "", "output": "x"}]}, "validation_data[0].input"),
        ({"promote": "never"}, "promote"),
        ({"replace": "yes"}, "replace"),
        ({"continue_from": 0}, "continue_from"),
        ({"continue_from": True}, "continue_from"),
    ],
)
def test_what_is_wrong_with_it_is_named(acme: Tenant, fields: dict[str, Any], param: str) -> None:
    before = row_counts()
    response = acme.api.train(**fields)
    assert response.status_code == 400
    assert response.json is not None
    assert str(response.json["error"]["param"]).startswith(param)
    assert row_counts() == before


def test_an_adapter_to_go_on_from_must_be_the_companys(acme: Tenant) -> None:
    error = error_of(acme.api.train(continue_from="unknown"), 404, "adapter_not_found")
    assert error["param"] == "continue_from"
    error_of(acme.api.train(continue_from=7), 404, "adapter_not_found")


def test_rows_held_out_are_counted_at_once_for_a_first_training_alone(acme: Tenant) -> None:
    first = asked(acme.api.train(training_data=MANY))
    assert first.counts is not None
    assert first.counts["held_out"] == 8
    second = asked(acme.api.train(training_data=MANY))
    assert second.counts is not None
    assert second.counts["held_out"] is None
    assert "together with the rows from before" in second.message


def test_a_file_to_evaluate_on_is_sent_beside_the_file(acme: Tenant) -> None:
    def file(lines: list[dict[str, str]], name: str) -> tuple[io.BytesIO, str]:
        return io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode()), name

    form = {
        "file": file(MANY, "rows.jsonl"),
        "validation_file": file(OWN, "own.jsonl"),
        "replace": "true",
        "promote": "always",
    }
    made = asked(acme.api.request("POST", TRAIN, data=form, content_type=FORM))
    run, dataset = row_of(acme, made.request_id)
    assert (run.promote, dataset.replaces, dataset.examples) == ("always", True, len(MANY))
    own = blob_store().read(str(dataset.validation_sha256)).decode().splitlines()
    assert [json.loads(line) for line in own] == OWN
    bad = {"file": file(MANY, "rows.jsonl"), "validation_file": (io.BytesIO(b"%PDF-1.7"), "x")}
    response = acme.api.request("POST", TRAIN, data=bad, content_type=FORM)
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"]["param"] == "validation_data"
