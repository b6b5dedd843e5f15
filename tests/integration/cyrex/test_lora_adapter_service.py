"""The adapters' Python service on real servers, with no worker there: what it writes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cyrex.errors import NotFound, UserError
from cyrex.lora_adapter_service import LoRAAdapterService, get_lora_service
from database.base import new_id
from database.models import AdapterAlias, Company, TrainingRun, Worker
from database.session import operator_session
from synapse.streams import (
    LORA_ADAPTER_READY,
    LORA_ADAPTER_REQUESTS,
    LORA_TRAINING_REQUESTS,
)
from tests.support import rows

LINES = [{"input": f"question {n}", "output": f"answer {n}"} for n in range(4)]

pytestmark = pytest.mark.usefixtures("database_url", "redis_url")


def test_training_is_requested_over_its_channel() -> None:
    service = asyncio.run(get_lora_service())
    company_id = f"new-{new_id()}"
    request_id = asyncio.run(
        service.request_adapter_training(company_id, LINES, {"lora_rank": 4}, use_qlora=False)
    )
    run = rows.get(TrainingRun, request_id)
    assert (run.company_id, run.source, run.use_qlora) == (company_id, "python", False)
    assert run.config["lora_rank"] == 4
    (event,) = rows.announced(company_id, LORA_TRAINING_REQUESTS)
    assert event["event_id"] == request_id
    assert rows.get(Company, company_id).name == company_id


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"training_data": []}, "training_data"),
        ({"training_data": [{"input": "x"}]}, "training_data[0].output"),
        ({"training_data": LINES, "config": {"lora_rank": 0}}, "config.lora_rank"),
    ],
)
def test_bad_training_is_refused_and_nothing_is_left(arguments: dict[str, Any], param: str) -> None:
    company_id = f"new-{new_id()}"
    with pytest.raises(UserError) as caught:
        asyncio.run(LoRAAdapterService().request_adapter_training(company_id, **arguments))
    assert caught.value.param == param
    with operator_session() as session:
        assert session.get(Company, company_id) is None


def test_another_base_model_is_refused() -> None:
    service = LoRAAdapterService(base_model_path="/somewhere/else")
    with pytest.raises(UserError, match="base_model"):
        asyncio.run(service.request_adapter_training(rows.company(), LINES))


def test_load_adapter_waits_for_residency() -> None:
    company_id = rows.company()
    adapter_id = rows.adapter(company_id, status="ready")
    service = LoRAAdapterService()
    assert asyncio.run(service.load_adapter(adapter_id, company_id, timeout=0.3)) is False
    (event,) = rows.announced(company_id, LORA_ADAPTER_REQUESTS)
    assert event["data"]["adapter_id"] == adapter_id
    resident = {"company_id": company_id, "adapter_id": adapter_id, "bytes": 1}
    worker_id = rows.worker("inference@here")
    rows.change(Worker, worker_id, details={"resident": [resident]})
    assert asyncio.run(service.load_adapter(adapter_id, company_id, timeout=5)) is True
    rows.change(Worker, worker_id, heartbeat_at=rows.ago(60))
    assert asyncio.run(service.load_adapter(adapter_id, company_id, timeout=0.3)) is False


def test_load_adapter_of_another_company_is_not_found() -> None:
    adapter_id = rows.adapter(rows.company(), status="ready")
    with pytest.raises(NotFound):
        asyncio.run(LoRAAdapterService().load_adapter(adapter_id, rows.company()))


def test_unknown_adapter_with_a_path_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyrex.lora_adapter_service.ARRIVAL_SECONDS", 0.2)
    company_id = f"new-{new_id()}"
    service = LoRAAdapterService()
    loading = service.load_adapter("outside-1", company_id, "/adapters/one", timeout=0.2)
    assert asyncio.run(loading) is False
    (event,) = rows.announced(company_id, LORA_ADAPTER_READY)
    assert event["data"] == {"adapter_id": "outside-1", "adapter_path": "/adapters/one"}


def test_adapter_for_company_is_the_champion_and_where_it_is() -> None:
    company_id = rows.company()
    service = LoRAAdapterService()
    assert asyncio.run(service.get_adapter_for_company(company_id)) is None
    rows.adapter(company_id, status="rejected")
    adapter_id = rows.adapter(company_id, status="ready")
    with operator_session() as session:
        session.add(AdapterAlias(company_id=company_id, champion_id=adapter_id))
    node = f"inference@{company_id}"
    resident = {"company_id": company_id, "adapter_id": adapter_id, "bytes": 1}
    rows.change(Worker, rows.worker(node), details={"resident": [resident]})
    found = asyncio.run(service.get_adapter_for_company(company_id))
    assert found is not None
    assert (found["adapter_id"], found["champion"], found["resident"]) == (adapter_id, True, [node])


def test_adapters_are_listed_by_company_and_status() -> None:
    company_id, other = rows.company(), rows.company()
    ready, rejected = (rows.adapter(company_id, status=s) for s in ("ready", "rejected"))
    theirs = rows.adapter(other, status="ready")

    def ids(*arguments: Any) -> list[str]:
        found = asyncio.run(LoRAAdapterService().list_adapters(*arguments))
        return [adapter["adapter_id"] for adapter in found]

    assert ids(company_id) == [rejected, ready]
    assert ids(company_id, "ready") == [ready]
    assert {ready, rejected, theirs} <= set(ids())
    with pytest.raises(UserError, match="status"):
        ids(company_id, "raedy")
