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
from sqlalchemy import text

from cyrex.company_data_automation import CompanyDataAutomation, get_automation_service
from cyrex.lora_adapter_service import LoRAAdapterService, get_lora_service
from database.session import operator_session
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
