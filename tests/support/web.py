"""Shared parts of the API's tests: clients, companies, and the worker's side of a job."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

from flask import Flask
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from cyrex.jobs import service as jobs
from cyrex.work.lease import Lease
from database.models import AdapterAlias, Job, LoraAdapter
from database.session import company_session
from database.transitions import JOB
from tasks.broker.dispatch import announce_end
from web.live import handover
from web.shapes.common import Error

LINES = [{"input": f"question {n}", "output": f"answer {n}"} for n in range(4)]
_numbers = count(1)


class Api:
    """Requests with one key. Each uses a new test client, so threads may share an Api."""

    def __init__(self, app: Flask, key: str | None) -> None:
        self.app = app
        self.key = key

    def request(self, method: str, path: str, /, **options: Any) -> TestResponse:
        headers = dict(options.pop("headers", {}))
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        answer = self.app.test_client().open(path, method=method, headers=headers, **options)
        # A test may look at the broker next: publish the request's messages now.
        handover.flush()
        return answer

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.request("POST", path, json=json, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.request("DELETE", path, **options)

    def train(self, **fields: Any) -> TestResponse:
        headers = fields.pop("headers", {})
        body = {"training_data": LINES, **fields}
        return self.post("/company-automation/train-adapter", body, headers=headers)

    def process(self, **fields: Any) -> TestResponse:
        headers = fields.pop("headers", {})
        body = {"data": {"input": "question 1"}, "wait": 0, **fields}
        return self.post("/company-automation/process", body, headers=headers)


@dataclass
class Tenant:
    company_id: str
    key: str
    api: Api


def new_company_id(name: str = "company") -> str:
    return f"{name}-{next(_numbers)}"


def new_tenant(operator: Api, name: str = "company") -> Tenant:
    company_id = new_company_id(name)
    made = operator.post("/companies", {"company_id": company_id})
    assert made.status_code == 201, made.text
    key = made.json["api_key"]  # type: ignore[index]
    return Tenant(company_id, key, Api(operator.app, key))


def error_of(response: TestResponse, status: int, code: str | None = None) -> dict[str, Any]:
    """The error of an answer; asserts its status, code and shape."""
    assert response.status_code == status, response.text
    assert response.headers["x-request-id"]
    assert "Traceback" not in response.text
    shape = Error.model_validate(response.json).error
    if code is not None:
        assert shape.code == code, response.text
    return shape.model_dump()


def finish_job(company_id: str, job_id: str, status: str = "completed", **values: Any) -> None:
    """Act as an inference worker: claim a job, resolve its adapter, write and announce its end."""
    with company_session(company_id) as session:
        attempt = jobs.get_job(session, job_id).attempt
        lease = Lease(JOB, company_id, job_id, "process", attempt, "worker-1")
        job = lease.claim(session)
        assert job is not None, "the job was not admitted"
        jobs.resolve_adapter(session, job)
    values = values or {"output_data": {"result": "answer 1", "confidence": 0.9}}
    with company_session(company_id) as session:
        lease.finish(session, status, completed_at=func.now(), **values)
    announce_end(job_id)


def newest_job(company_id: str) -> str | None:
    with company_session(company_id) as session:
        return session.scalar(
            select(Job.job_id).where(Job.status == "admitted").order_by(Job.job_id.desc()).limit(1)
        )


def new_adapter(company_id: str, version: int, champion: bool = False) -> str:
    with company_session(company_id) as session:
        adapter = LoraAdapter(
            company_id=company_id,
            version=version,
            base_model="base",
            base_model_revision="main",
            adapter_type="qlora",
            status="ready",
            config={"lora_rank": 4},
            details={"note": "n"},
        )
        session.add(adapter)
        session.flush()
        if champion:
            session.add(AdapterAlias(company_id=company_id, champion_id=adapter.adapter_id))
        return adapter.adapter_id
