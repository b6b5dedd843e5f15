"""The integration guide's examples as written, but for the import path, on a whole stack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from demo.client import Api
from embedded import Stack
from tests.support.environment import forget_settings

TRAINING_SECONDS = 240.0

REQUEST_TRAINING = """
from cyrex.lora_adapter_service import get_lora_service

lora_service = await get_lora_service()
request_id = await lora_service.request_adapter_training(
    company_id="acme_corp",
    training_data=[
        {"input": "Analyze Q4 sales", "output": "Sales increased 15%"},
        {"input": "Process invoices", "output": "Processed 500 invoices"},
    ],
    config={
        "lora_rank": 16,
        "lora_alpha": 32,
        "target_modules": ["q_proj", "v_proj"],
    },
    use_qlora=True
)
"""

PROCESS_DATA = """
from cyrex.company_data_automation import get_automation_service

automation = await get_automation_service()
result = await automation.process_company_data(
    company_id="acme_corp",
    data={
        "task": "analyze_customer_feedback",
        "data": ["Great product!", "Needs improvement"],
    },
    task_type="sentiment_analysis",
    use_adapter=True
)
"""

REGISTER_TOOLS = """
await automation.register_company_tools(
    company_id="acme_corp",
    tools=[
        {
            "name": "crm_lookup",
            "endpoint": "https://crm.acme.com/api/lookup",
            "method": "POST",
            "auth": {"type": "bearer", "token": "..."},
            "description": "Lookup customer in CRM",
        },
    ]
)
"""


@pytest.fixture(scope="module")
def settings_of_stack(stack: Stack) -> Iterator[None]:
    """This process becomes a client of the stack: a program with its variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            if name.isupper() and value:
                patch.setenv(name, value)
        forget_settings()
        yield
    forget_settings()


def run(*examples: str) -> dict[str, Any]:
    """The examples one after the other, as the body of one coroutine; the names they leave."""
    body = "".join(f"    {line}\n" for line in "\n".join(examples).splitlines())
    names: dict[str, Any] = {}
    exec(f"async def main():\n{body}    return locals()\n", names)
    found: dict[str, Any] = asyncio.run(names["main"]())
    return found


@pytest.mark.usefixtures("settings_of_stack")
def test_the_three_examples(operator: Api) -> None:
    left = run(REQUEST_TRAINING, PROCESS_DATA, REGISTER_TOOLS)
    result = left["result"]
    assert result["status"] == "completed", result
    assert {"job_id", "status", "result", "tool_results", "confidence"} <= set(result)
    assert 0 < result["confidence"] <= 1
    assert result["tool_results"] == []
    path = "/company-automation"
    (tool,) = operator.get(f"{path}/tools?company_id=acme_corp")["tools"]
    assert tool["name"] == "crm_lookup"
    assert operator.get(f"{path}/jobs/{result['job_id']}")["task_type"] == "sentiment_analysis"
    deadline = time.monotonic() + TRAINING_SECONDS
    while (run_view := operator.get(f"{path}/training/{left['request_id']}"))["status"] not in (
        *("succeeded", "failed", "cancelled"),
    ):
        assert time.monotonic() < deadline, run_view
        time.sleep(0.5)
    assert run_view["status"] == "succeeded", run_view["error"]
    assert run_view["config"]["target_modules"] == ["q_proj", "v_proj"]
    _load(run_view["adapter_id"])


def _load(adapter_id: str) -> None:
    """The trained adapter is listed, loaded on request, and seen where it is."""
    from cyrex.lora_adapter_service import LoRAAdapterService

    async def main() -> None:
        service = LoRAAdapterService()
        await service.initialize()
        while True:
            (adapter,) = await service.list_adapters("acme_corp")
            if adapter["status"] not in ("registered", "announced"):
                break
            await asyncio.sleep(0.5)
        assert adapter["adapter_id"] == adapter_id
        if adapter["status"] != "ready":
            assert await service.load_adapter(adapter_id, "acme_corp") is False
            return
        assert await service.load_adapter(adapter_id, "acme_corp") is True
        champion = await service.get_adapter_for_company("acme_corp")
        assert champion is not None
        assert champion["adapter_id"] == adapter_id
        assert champion["resident"]

    asyncio.run(asyncio.wait_for(main(), TRAINING_SECONDS))
