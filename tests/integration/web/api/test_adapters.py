"""Adapters over HTTP: listed, where they are resident, and what people decide about them."""

from __future__ import annotations

from typing import Any

import pytest

from database.models import LoraAdapter, Worker
from tests.support import rows
from tests.support.web import Api, Tenant, error_of, new_adapter
from web.shapes.adapters import (
    AdapterDeleted,
    Adapters,
    DecidedAdapter,
    Decisions,
    ResidentAdapterView,
)

ADAPTERS = "/company-automation/adapters"


def test_adapters_are_listed_with_the_one_that_answers(acme: Tenant, globex: Tenant) -> None:
    first = new_adapter(acme.company_id, 1, champion=True)
    second = new_adapter(acme.company_id, 2)
    new_adapter(globex.company_id, 1, champion=True)
    listed = Adapters.model_validate(acme.api.get(ADAPTERS).json).adapters
    assert [(a.adapter_id, a.champion) for a in listed] == [(second, False), (first, True)]
    shown = ResidentAdapterView.model_validate(acme.api.get(f"{ADAPTERS}/{first}").json)
    assert shown.model_dump(exclude={"resident"}) == listed[1].model_dump()
    assert shown.resident == []
    none = acme.api.get(f"{ADAPTERS}?status=retired&company_id={acme.company_id}")
    assert Adapters.model_validate(none.json).adapters == []


def test_an_adapter_tells_which_live_workers_hold_it(acme: Tenant, globex: Tenant) -> None:
    adapter_id = rows.adapter(acme.company_id)
    held = {"resident": [{"company_id": acme.company_id, "adapter_id": adapter_id, "bytes": 1}]}
    for node, age in (("inference@a", 0.0), ("inference@dead", 60.0)):
        rows.change(Worker, rows.worker(node, age), details=held)
    shown = acme.api.get(f"{ADAPTERS}/{adapter_id}").json
    assert ResidentAdapterView.model_validate(shown).resident == ["inference@a"]
    assert globex.api.get(f"{ADAPTERS}/{adapter_id}").status_code == 404


def ready(tenant: Tenant, status: str = "ready") -> str:
    return rows.adapter(tenant.company_id, status=status, sha256="0" * 64)


def decide(api: Api, adapter_id: str, act: str, **options: Any) -> DecidedAdapter:
    response = api.post(f"{ADAPTERS}/{adapter_id}/{act}", **options)
    assert response.status_code == 200, response.text
    return DecidedAdapter.model_validate(response.json)


def test_life_of_an_adapter(acme: Tenant) -> None:
    first, second = ready(acme), ready(acme, "rejected")
    promoted = decide(acme.api, first, "promote")
    assert (promoted.champion, promoted.decision.outcome) == (True, "promoted")
    assert promoted.decision.evidence == {"api_key": acme.key.split("_")[1]}
    assert decide(acme.api, second, "promote").status == "ready"
    back = decide(acme.api, first, "rollback")
    assert (back.champion, back.decision.previous_id) == (True, second)
    assert decide(acme.api, first, "pin").pinned is True
    error_of(acme.api.post(f"{ADAPTERS}/{second}/promote"), 409, "pinned")
    shown = acme.api.get(f"{ADAPTERS}/{first}").json
    assert ResidentAdapterView.model_validate(shown).pinned is True
    assert decide(acme.api, first, "unpin").pinned is False
    assert decide(acme.api, second, "retire").status == "retired"
    error = error_of(acme.api.post(f"{ADAPTERS}/{first}/retire"), 409, "adapter_is_champion")
    assert error["param"] == "force"
    retired = decide(acme.api, first, "retire", json={"force": True})
    assert (retired.status, retired.champion) == ("retired", False)
    gone = AdapterDeleted.model_validate(acme.api.delete(f"{ADAPTERS}/{first}").json)
    assert (gone.deleted, gone.decision.outcome) == (True, "deleted")
    error_of(acme.api.get(f"{ADAPTERS}/{first}"), 404, "adapter_not_found")
    error_of(acme.api.delete(f"{ADAPTERS}/{first}"), 404, "adapter_not_found")
    told = Decisions.model_validate(acme.api.get(f"{ADAPTERS}/{first}/decisions").json).decisions
    outcomes = ["deleted", "retired", "unpinned", "pinned", "rolled_back", "promoted"]
    assert [decision.outcome for decision in told] == outcomes


def test_back_to_the_champion_before(acme: Tenant, operator: Api) -> None:
    first, second = ready(acme), ready(acme)
    for adapter_id in (first, second):
        decide(acme.api, adapter_id, "promote")
    back = acme.api.post(f"{ADAPTERS}/rollback")
    assert DecidedAdapter.model_validate(back.json).adapter_id == first
    refused = operator.post(f"{ADAPTERS}/rollback", {})
    error_of(refused, 400, "company_required")
    named = operator.post(f"{ADAPTERS}/rollback", {"company_id": acme.company_id})
    error_of(named, 409, "no_earlier_champion")


def test_a_repeated_request_decides_once(acme: Tenant) -> None:
    first, second = ready(acme), ready(acme)
    headers = {"Idempotency-Key": "promote-1"}
    once = acme.api.post(f"{ADAPTERS}/{first}/promote", headers=headers)
    again = acme.api.post(f"{ADAPTERS}/{first}/promote", headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json == once.json
    other = acme.api.post(f"{ADAPTERS}/{second}/promote", headers=headers)
    error_of(other, 409, "idempotency_key_reuse")
    found = acme.api.get(f"/company-automation/decisions?adapter_id={first}")
    assert len(Decisions.model_validate(found.json).decisions) == 1


def test_an_operator_decides_for_a_company(acme: Tenant, operator: Api) -> None:
    adapter_id = ready(acme)
    assert decide(operator, adapter_id, "promote").company_id == acme.company_id
    gone = operator.delete(f"{ADAPTERS}/{adapter_id}?force=true")
    assert AdapterDeleted.model_validate(gone.json).deleted
    assert rows.get(LoraAdapter, adapter_id).status == "deleted"


def test_decisions_are_a_companys_own(acme: Tenant, globex: Tenant) -> None:
    for _ in range(3):
        decide(acme.api, ready(acme), "promote")
    path = "/company-automation/decisions"
    page = Decisions.model_validate(acme.api.get(f"{path}?limit=2").json)
    assert len(page.decisions) == 2
    rest = Decisions.model_validate(acme.api.get(f"{path}?after={page.next_after}").json)
    assert (len(rest.decisions), rest.next_after) == (1, None)
    assert Decisions.model_validate(globex.api.get(path).json).decisions == []


@pytest.mark.parametrize("act", ["promote", "rollback", "pin", "unpin", "retire"])
def test_anothers_adapter_is_not_found(acme: Tenant, globex: Tenant, act: str) -> None:
    adapter_id = ready(acme)
    error_of(globex.api.post(f"{ADAPTERS}/{adapter_id}/{act}"), 404, "adapter_not_found")
    assert acme.api.get("/company-automation/decisions").json == {
        "decisions": [],
        "next_after": None,
    }


def test_a_bad_body_is_refused(acme: Tenant) -> None:
    path = f"{ADAPTERS}/{ready(acme)}/retire"
    assert error_of(acme.api.post(path, {"force": "yes"}), 400)["param"] == "force"
    assert error_of(acme.api.post(path, {"forced": True}), 400)["param"] == "forced"
    error_of(acme.api.post(path, data=b"force", headers={"Content-Type": "text/plain"}), 415)
