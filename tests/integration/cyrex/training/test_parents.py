"""The adapter that a training goes on from, found by id or version and refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from cyrex.errors import NotFound, UserError
from cyrex.training import service as training
from cyrex.training.order import TrainingOrder
from database.models import LoraAdapter, TrainingRun
from database.session import WEB, company_session
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")

SHA256 = "a" * 64


@pytest.fixture
def acme() -> str:
    return rows.company()


def adapter(company_id: str, **values: Any) -> LoraAdapter:
    """An adapter that a training of ours made."""
    request_id = rows.run(company_id, status="succeeded")
    made = {"status": "ready", "sha256": SHA256, "request_id": request_id, **values}
    found: LoraAdapter = rows.get(LoraAdapter, rows.adapter(company_id, **made))
    return found


def asked(company_id: str, continue_from: str | int, **config: Any) -> TrainingRun:
    order = TrainingOrder(company_id, config, continue_from=continue_from, seed=1)
    data = rows.stored(rows.LINES)
    with company_session(company_id, WEB) as session:
        run = training.request_training(session, order, data)
    found: TrainingRun = rows.get(TrainingRun, run.request_id)
    return found


@pytest.mark.parametrize("status", ["ready", "rejected", "announced"])
def test_it_is_named_by_id_or_version(acme: str, status: str) -> None:
    adapter(acme)
    parent = adapter(acme, status=status)
    for named in (parent.adapter_id, parent.version, str(parent.version)):
        run = asked(acme, named)
        assert run.continue_from == parent.adapter_id
    (*_, envelope) = rows.announced(acme, "lora_training_requests")
    assert envelope["data"]["continue_from"] == parent.adapter_id


@pytest.mark.parametrize("named", ["unknown", 99, "99", "9" * 40])
def test_an_unknown_one_is_not_found(acme: str, named: str | int) -> None:
    adapter(acme)
    with pytest.raises(NotFound) as refused:
        asked(acme, named)
    assert refused.value.param == "continue_from"


def test_another_companys_is_not_found(acme: str) -> None:
    theirs = adapter(rows.company("globex"))
    with pytest.raises(NotFound):
        asked(acme, theirs.adapter_id)
    with pytest.raises(NotFound):
        asked(acme, theirs.version)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"status": "failed"}, "is failed"),
        ({"status": "retired"}, "is retired"),
        ({"base_model": "other/base"}, "other/base"),
        ({"base_model_revision": "old"}, "old"),
        ({"sha256": None, "status": "registered"}, "not stored yet"),
    ],
)
def test_one_that_cannot_be_continued_is_refused(
    acme: str, values: dict[str, Any], said: str
) -> None:
    parent = adapter(acme, **values)
    with pytest.raises(UserError, match=said) as refused:
        asked(acme, parent.adapter_id)
    assert (refused.value.status, refused.value.param) == (400, "continue_from")


@pytest.mark.parametrize(
    ("theirs", "ours", "param"),
    [
        ({"lora_rank": 8}, {"lora_rank": 16}, "config.lora_rank"),
        ({}, {"rank": 8}, "config.lora_rank"),
        ({}, {"lora_alpha": 8}, "config.lora_alpha"),
        ({"target_modules": ["q_proj"]}, {"target_modules": "all-linear"}, "config.target_modules"),
    ],
)
def test_settings_that_differ_are_named(
    acme: str, theirs: dict[str, Any], ours: dict[str, Any], param: str
) -> None:
    parent = adapter(acme, config=theirs)
    with pytest.raises(UserError, match=parent.adapter_id) as refused:
        asked(acme, parent.adapter_id, **ours)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_the_shape_is_the_parents_where_it_is_left_out(acme: str) -> None:
    parent = adapter(acme, config={"lora_rank": 8, "num_epochs": 9, "target_modules": ["q_proj"]})
    run = asked(acme, parent.adapter_id, lora_rank=8, num_epochs=2)
    assert run.config == {"lora_rank": 8, "num_epochs": 2, "target_modules": ["q_proj"]}


def test_a_view_names_the_adapter_and_how_it_is_promoted(acme: str) -> None:
    parent = adapter(acme)
    run = asked(acme, parent.version)
    with company_session(acme, WEB) as session:
        shown = training.training_view(session, session.get_one(TrainingRun, run.request_id))
    assert (shown["continue_from"], shown["promote"]) == (parent.adapter_id, "evidence")
    assert (shown["replace"], shown["split"]) == (False, None)


def test_promotion_is_asked_for_by_name(acme: str) -> None:
    with pytest.raises(UserError) as refused:
        TrainingOrder(acme, promote="never")  # type: ignore[arg-type]
    assert refused.value.param == "promote"
