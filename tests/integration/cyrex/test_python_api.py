"""The Python services on real servers, with no worker there: what they write, and that they wait
beside the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet
from sqlalchemy import select, text

from cyrex.company_data_automation import CompanyDataAutomation, get_automation_service
from cyrex.errors import NotFound, UserError
from cyrex.lora_adapter_service import LoRAAdapterService, get_lora_service
from database.base import new_id
from database.models import AdapterAlias, Company, CompanyTool, TrainingRun, Worker
from database.session import operator_session
from synapse.streams import (
    COMPANY_AUTOMATION_JOBS,
    LORA_ADAPTER_READY,
    LORA_ADAPTER_REQUESTS,
    LORA_TRAINING_REQUESTS,
)
from tests.support import rows
from tests.support.environment import forget_settings

LINES = [{"input": f"question {n}", "output": f"answer {n}"} for n in range(4)]
TOOL = {"name": "crm", "endpoint": "https://crm.acme.com/api", "description": "Look up"}
HELD_SECONDS = 0.8
# A loop that is blocked by the call comes round once or not at all.
FEWEST_ROUNDS = 10

pytestmark = pytest.mark.usefixtures("database_url", "redis_url")


@contextmanager
def slow_database() -> Iterator[None]:
    """Every statement on these tables waits for `HELD_SECONDS`."""
    held = threading.Event()

    def hold() -> None:
        with operator_session() as session:
            session.execute(
                text("LOCK companies, lora_adapters, adapter_aliases, company_tools, workers")
            )
            held.set()
            time.sleep(HELD_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    yield
    thread.join()


async def rounds_of(call: Callable[[], Awaitable[Any]]) -> tuple[int, float]:
    """(how often the loop came round while `call` ran, seconds in all).

    A count and no time: a pause of the whole machine is not the loop's fault.
    """
    rounds = 0

    async def tick() -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0.01)
            rounds += 1

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.05)
    before = rounds
    started = time.monotonic()
    await call()
    seconds = time.monotonic() - started
    ticking.cancel()
    return rounds - before, seconds


CALLS: dict[str, Callable[[str], Awaitable[Any]]] = {
    "request_adapter_training": lambda c: LoRAAdapterService().request_adapter_training(c, LINES),
    "get_adapter_for_company": lambda c: LoRAAdapterService().get_adapter_for_company(c),
    "list_adapters": lambda c: LoRAAdapterService().list_adapters(c),
    "process_company_data": lambda c: CompanyDataAutomation().process_company_data(
        c, {"input": "x"}, wait=0.5
    ),
    "train_company_adapter": lambda c: CompanyDataAutomation().train_company_adapter(c, LINES),
    "register_company_tools": lambda c: CompanyDataAutomation().register_company_tools(c, [TOOL]),
}


@pytest.mark.parametrize("method", CALLS)
def test_event_loop_goes_on(method: str) -> None:
    company_id = rows.company()
    asyncio.run(CALLS["list_adapters"](company_id))
    with slow_database():
        rounds, seconds = asyncio.run(rounds_of(lambda: CALLS[method](company_id)))
    assert seconds > HELD_SECONDS / 2, "the database was not slow: the test proves nothing"
    assert rounds >= FEWEST_ROUNDS


def test_event_loop_goes_on_while_an_adapter_loads() -> None:
    company_id = rows.company()
    adapter_id = rows.adapter(company_id, status="ready")
    service = LoRAAdapterService()
    with slow_database():
        rounds, seconds = asyncio.run(
            rounds_of(lambda: service.load_adapter(adapter_id, company_id, timeout=0.5))
        )
    assert seconds > HELD_SECONDS / 2
    assert rounds >= FEWEST_ROUNDS


def test_many_waits_do_not_hold_each_other_up() -> None:
    """More waiting callers than threads: a quick question is still answered."""
    company_id = rows.company()
    automation = CompanyDataAutomation()

    async def crowd() -> None:
        waiting = [
            asyncio.create_task(automation.process_company_data(company_id, "x", wait=60.0))
            for _ in range(40)
        ]
        await asyncio.sleep(0.5)
        await LoRAAdapterService().list_adapters(company_id)
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(crowd())


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


def test_job_is_requested_over_its_channel() -> None:
    automation = asyncio.run(get_automation_service())
    company_id = f"new-{new_id()}"
    result = asyncio.run(
        automation.process_company_data(company_id, {"task": "t"}, "sales", False, wait=0)
    )
    assert (result["status"], result["tool_results"]) == ("requested", [])
    (event,) = rows.announced(company_id, COMPANY_AUTOMATION_JOBS)
    assert event["type"] == "job.requested"
    data = event["data"]
    assert (data["job_id"], data["data"]) == (result["job_id"], {"task": "t"})
    assert (data["task_type"], data["use_adapter"]) == ("sales", False)


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"data": {"a": object()}}, "data"),
        ({"data": {"a": float("nan")}}, "data"),
        ({"data": 1, "task_type": "a b"}, "task_type"),
        ({"data": 1, "choices": []}, "choices"),
        ({"data": 1, "choices": ["a", ""]}, "choices[1]"),
    ],
)
def test_what_cannot_be_a_job_is_refused_and_nothing_is_left(
    arguments: dict[str, Any], param: str
) -> None:
    automation = asyncio.run(get_automation_service())
    company_id = f"new-{new_id()}"
    with pytest.raises(UserError) as refused:
        asyncio.run(automation.process_company_data(company_id, wait=0, **arguments))
    assert refused.value.param == param
    assert refused.value.message.startswith(f"{param}: ")
    assert rows.announced(company_id, COMPANY_AUTOMATION_JOBS) == []


def test_job_of_a_wrong_agent_is_refused() -> None:
    with pytest.raises(NotFound):
        asyncio.run(CompanyDataAutomation().process_company_data(rows.company(), "x", agent_id="a"))


def test_tools_are_registered_without_showing_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_SECRETS_KEY", Fernet.generate_key().decode())
    forget_settings()
    company_id = f"new-{new_id()}"
    tool = {**TOOL, "auth": {"type": "bearer", "token": "s3cret-token"}}
    (shown,) = asyncio.run(CompanyDataAutomation().register_company_tools(company_id, [tool]))
    assert shown["name"] == "crm"
    assert "s3cret" not in str(shown)
    with operator_session() as session:
        row = session.scalars(select(CompanyTool).where(CompanyTool.company_id == company_id)).one()
    assert row.secrets is not None and b"s3cret" not in row.secrets
    with pytest.raises(UserError, match=r"tools\[0\]"):
        asyncio.run(CompanyDataAutomation().register_company_tools(company_id, [{"name": "x"}]))


def test_services_are_one_for_the_process() -> None:
    async def twice() -> tuple[Any, ...]:
        return tuple(
            await asyncio.gather(
                get_lora_service(),
                get_lora_service(),
                get_automation_service(),
                get_automation_service(),
            )
        )

    one, same, other, also = asyncio.run(twice())
    assert one is same
    assert other is also


def test_initialize_says_that_a_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        forget_settings()
        with pytest.raises(redis.ConnectionError):
            asyncio.run(LoRAAdapterService().initialize())
    forget_settings()
