"""A job that calls a company's own server, on a whole stack, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from demo.client import Api
from embedded import Stack
from tests.support.agents import ORDER_TOOL, Shop
from tests.support.waiting import eventually


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.server.shutdown()
    shop.server.server_close()


def register(api: Api, shop: Shop) -> None:
    tool = {**ORDER_TOOL, "endpoint": shop.url, "auth": {"type": "bearer", "token": "t0p-secret"}}
    api.post("/company-automation/register-tools", {"tools": [tool]})


def test_tool_is_called_and_the_result_remembered(
    new_company: Callable[[str], Api], shop: Shop
) -> None:
    api = new_company("tools-1")
    register(api, shop)
    job = api.process({"input": "Get the order 84213"})
    job = api.get(job["location"])
    assert job["status"] == "completed", job["error"]
    assert shop.calls == [{"order_id": "84213"}]
    assert [step["kind"] for step in job["steps"]] == ["call", "answer"]
    assert job["tool_results"][0]["result"] == {"status": "shipped"}
    assert 0 < job["confidence"] <= 1
    (memory,) = api.get("/company-automation/memory")["memory"]
    assert (memory["job_id"], "84213" in memory["content"]) == (job["job_id"], True)


@pytest.mark.parametrize("process", ["tools", "inference"])
def test_job_survives_the_death_of_a_process(
    stack: Stack, new_company: Callable[[str], Api], shop: Shop, process: str
) -> None:
    """Killed while its jobs are on their way: each ends, and no order is asked for twice a job."""
    api = new_company(f"tools-{process}")
    register(api, shop)
    ids = [
        api.post(
            "/company-automation/process",
            {"data": {"input": f"Get the order {number}"}, "wait": 0},
        )["job_id"]
        for number in range(50_000, 50_012)
    ]
    eventually(lambda: shop.calls, 60, "the first call")
    stack.kill(process)

    def ended() -> bool:
        jobs = [api.get(f"/company-automation/jobs/{job_id}") for job_id in ids]
        return all(job["status"] in ("completed", "failed") for job in jobs)

    eventually(ended, 90, "the end of the jobs")
    jobs = [api.get(f"/company-automation/jobs/{job_id}") for job_id in ids]
    assert [job["error"] for job in jobs if job["status"] != "completed"] == []
    asked = [call["order_id"] for call in shop.calls]
    assert len(asked) == len(set(asked))
