"""Adapters over HTTP: listed, and where they are resident."""

from __future__ import annotations

from database.models import Worker
from tests.support import rows
from tests.support.web import Tenant, new_adapter
from web.shapes.adapters import Adapters, ResidentAdapterView

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
