"""A worker that is told to stop: what its engine cannot finish in time goes back, uncounted."""

from __future__ import annotations

import signal
import threading
from typing import Any

import openai
import pytest

from demo.client import Api
from embedded import Stack
from tests.acceptance.engines import engine_of
from tests.support.waiting import eventually


@pytest.mark.slow
def test_what_is_under_way_goes_back_and_is_done_by_the_next(stack: Stack, operator: Api) -> None:
    made = operator.post("/companies", {"company_id": "drained"})
    acme = Api(operator.url, made["api_key"])
    client = openai.OpenAI(base_url=f"{acme.url}/v1", api_key=made["api_key"], max_retries=5)
    # An engine that answers nothing stands for one whose answers take long.
    engine_of(stack).send_signal(signal.SIGSTOP)
    jobs = [
        acme.post("/company-automation/process", {"data": {"input": f"order {n}"}, "wait": 0})
        for n in range(5)
    ]
    answers: list[Any] = []
    messages: Any = [{"role": "user", "content": "Hello"}]

    def chat() -> None:
        answers.append(
            client.chat.completions.create(
                model="base", messages=messages, max_tokens=4, timeout=200
            )
        )

    thread = threading.Thread(target=chat)
    thread.start()

    def state(job: Any) -> Any:
        return acme.get(job["location"])

    eventually(lambda: all(state(job)["status"] == "running" for job in jobs), 30, "a claim")
    stack.kill("inference", signal.SIGTERM)
    stack.wait_ready("inference")
    ended = [
        eventually(lambda job=job: (v := state(job))["status"] == "completed" and v, 60, "an end")
        for job in jobs
    ]
    assert [view["attempt"] for view in ended] == [2] * len(jobs)
    thread.join(60)
    assert answers, "nothing had been said: it was asked again, here or by the client"
