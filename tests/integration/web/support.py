"""What the tests of the API share: a client, outages, and the worker's side of a job."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from kombu import pools
from sqlalchemy import func, select, text
from werkzeug.test import TestResponse

from cyrex.jobs import service as jobs
from database import claims
from database.base import Base
from database.models import Job
from database.session import company_session, get_engine, operator_session
from database.transitions import JOB
from tasks import app as celery_app
from tasks.broker import dispatch
from tasks.broker.dispatch import announce_end
from web.live import handover
from web.shapes.answers import Error

LINES = [{"input": f"question {n}", "output": f"answer {n}"} for n in range(4)]
_numbers = count(1)


def use_broker(url: str) -> None:
    """Point the Celery application, which reads its settings once, at `url`."""
    dispatch.broker.cache_clear()
    pools.reset()
    celery: Any = celery_app
    celery._pool = None
    celery.amqp._producer_pool = None
    celery.conf.broker_url = url


class Api:
    """Requests with one key. A client of its own each time, so that threads may share it."""

    def __init__(self, app: Flask, key: str | None) -> None:
        self.app = app
        self.key = key

    def request(self, method: str, path: str, /, **options: Any) -> TestResponse:
        headers = dict(options.pop("headers", {}))
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        answer = self.app.test_client().open(path, method=method, headers=headers, **options)
        # What the request began is with the broker when a test looks there.
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
    """The error of an answer that must have this status, in the one shape."""
    assert response.status_code == status, response.text
    assert response.headers["x-request-id"]
    assert "Traceback" not in response.text
    shape = Error.model_validate(response.json).error
    if code is not None:
        assert shape.code == code, response.text
    return shape.model_dump()


def row_counts() -> dict[str, int]:
    """Rows of every table."""
    with operator_session() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }


def finish_job(company_id: str, job_id: str, status: str = "completed", **values: Any) -> None:
    """What an inference worker does: claim, resolve, write the end, and only then say so."""
    with company_session(company_id) as session:
        attempt = jobs.get_job(session, job_id).attempt
        job = claims.claim(session, JOB, job_id, "process", attempt, "worker-1")
        assert job is not None, "the job was not admitted"
        jobs.resolve_adapter(session, job)
    values = values or {"output_data": {"result": "answer 1", "confidence": 0.9}}
    with company_session(company_id) as session:
        claims.finish(session, JOB, job, "worker-1", status, completed_at=func.now(), **values)
    announce_end(job_id)


def newest_job(company_id: str) -> str | None:
    with company_session(company_id) as session:
        return session.scalar(
            select(Job.job_id).where(Job.status == "admitted").order_by(Job.job_id.desc()).limit(1)
        )


def idle_transactions() -> int:
    """Connections of the database that sit inside a transaction and do nothing."""
    # As the login role: any other sees of its sessions that they are there, and not what they do.
    with get_engine().connect() as connection:
        return int(
            connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
                )
            )
            or 0
        )


class Proxy:
    """A TCP proxy in front of a server: `cut` is that server going down, `restore` its return."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        assert target.hostname and target.port
        self._target = (target.hostname, target.port)
        self._open: set[socket.socket] = set()
        self.bytes_passed = 0
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = url.replace(f":{target.port}", f":{self.port}")

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
                self._open |= {client, server}
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.bytes_passed += len(data)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def restore(self) -> None:
        self._listener = self._listen(self.port)


def eventually(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `check` returns once it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
