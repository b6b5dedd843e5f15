"""An outside program: plain redis-py and one XADD, no other part of the product."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable

import pytest
import redis

from demo.client import Api
from demo.main_job import messages
from embedded import Stack

WAIT_SECONDS = 120.0


@pytest.fixture
def client(stack: Stack) -> redis.Redis:
    return redis.Redis.from_url(stack.environment["REDIS_URL"], decode_responses=True)


def test_one_xadd_gets_a_trained_adapter(
    client: redis.Redis, new_company: Callable[[str], Api]
) -> None:
    company_id = f"outside-{uuid.uuid4().hex[:6]}"
    api = new_company(company_id)
    request_id = str(uuid.uuid4())
    last = client.xinfo_stream("lora_adapter_ready")["last-generated-id"]
    client.xadd(
        "lora_training_requests",
        {
            "request_id": request_id,
            "company_id": company_id,
            "training_data": json.dumps(
                [{"input": m.text, "output": m.label("acme")} for m in messages(60)]
            ),
            "config": json.dumps({"num_epochs": 2, "lora_rank": 8, "lora_alpha": 16}),
            "use_qlora": "false",
        },
    )
    ready = _await_ready(client, last, request_id)
    assert ready["company_id"] == company_id
    adapters = api.get("/company-automation/adapters")["adapters"]
    assert [a["adapter_id"] for a in adapters] == [json.loads(ready["data"])["adapter_id"]]
    run = api.get(f"/company-automation/training/{request_id}")
    assert run["status"] == "succeeded"
    assert run["config"]["lora_rank"] == 8


def _await_ready(client: redis.Redis, last: str, request_id: str) -> dict[str, str]:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for _stream, entries in client.xread({"lora_adapter_ready": last}, block=1000) or []:
            for entry_id, fields in entries:
                last = entry_id
                if json.loads(fields["data"]).get("request_id") == request_id:
                    return dict(fields)
    raise AssertionError("no lora_adapter_ready came")


def test_bad_event_is_set_aside_with_its_reason(
    stack: Stack, client: redis.Redis, new_company: Callable[[str], Api]
) -> None:
    company_id = f"outside-{uuid.uuid4().hex[:6]}"
    api = new_company(company_id)
    client.xadd(
        "lora_training_requests",
        {
            "request_id": str(uuid.uuid4()),
            "company_id": company_id,
            "training_data": json.dumps([{"input": "a", "output": "b"}, {"input": "c"}]),
        },
    )
    reason = _await_dead_letter(stack, company_id)
    assert "line 2" in reason
    assert "output" in reason
    assert api.get("/company-automation/training")["training"] == []


def _await_dead_letter(stack: Stack, company_id: str) -> str:
    import psycopg2

    connection = psycopg2.connect(stack.environment["DATABASE_URL"])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with connection, connection.cursor() as cursor:
            cursor.execute("SET LOCAL ROLE cyrex_operator")
            cursor.execute("SELECT reason FROM dead_letters WHERE company_id = %s", (company_id,))
            row = cursor.fetchone()
        if row is not None:
            connection.close()
            return str(row[0])
        time.sleep(0.2)
    raise AssertionError("no dead letter came")
