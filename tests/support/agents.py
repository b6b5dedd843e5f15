"""A company's own server, and a job moved step by step as its workers would do it."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from celery.exceptions import Ignore

from cyrex.agents import service as agents
from cyrex.jobs import service as jobs
from cyrex.tools.calls import calls_of
from database.base import Json
from database.models import Job, ToolCall
from database.session import company_session
from synapse.streams import COMPANY_AUTOMATION_JOBS
from tasks.broker import dispatch
from tasks.steps.jobs import process
from tasks.steps.tools import call
from tests.support import rows


class Shop:
    """A company's own server. `answers` are (status, body), the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = [(200, {"status": "shipped"})]
        self.calls: list[Any] = []
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                shop.calls.append(json.loads(sent))
                status, body = shop.answers.pop(0) if len(shop.answers) > 1 else shop.answers[0]
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_arguments: Any) -> None:
                """The test says what it needs to know."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/orders"


ORDER_TOOL = {
    "name": "get_order",
    "description": "get the order",
    "method": "POST",
    "parameters": {
        "type": "object",
        "properties": {"order_id": {"type": "string", "maxLength": 12}},
        "required": ["order_id"],
    },
}


def job_row(job_id: str) -> Job:
    row: Job = rows.get(Job, job_id)
    return row


def calls(company_id: str, job_id: str) -> list[ToolCall]:
    with company_session(company_id) as session:
        return calls_of(session, job_id)


def step(company_id: str, job_id: str) -> str:
    """Do the one thing that a worker would do next; returns the job's status after it."""
    row = job_row(job_id)
    if row.status == "queued":
        dispatch.admit("job", company_id)
    elif row.status == "admitted":
        with suppress(Ignore):
            process(company_id, job_id, "process", row.attempt)
    elif row.status == "waiting":
        pending = calls(company_id, job_id)[-1]
        with suppress(Ignore):
            call(company_id, pending.call_id, "call", pending.attempt)
    return job_row(job_id).status


def run(company_id: str, job_id: str, until: str = "", steps: int = 40) -> Json:
    """Go on until the job has ended, or is `until`."""
    for _ in range(steps):
        if step(company_id, job_id) in ("completed", "failed", "cancelled", until):
            break
    with company_session(company_id) as session:
        return jobs.detailed_view(session, jobs.get_job(session, job_id))


def statuses(company_id: str, job_id: str) -> list[str]:
    events = rows.announced(company_id, COMPANY_AUTOMATION_JOBS)
    return [e["data"]["status"] for e in events if e["data"]["job_id"] == job_id]


def limit(company_id: str, **limits: int) -> None:
    with company_session(company_id) as session:
        agent = agents.default_agent(session, company_id)
        agents.update_agent(session, company_id, agent.agent_id, {"limits": limits})
