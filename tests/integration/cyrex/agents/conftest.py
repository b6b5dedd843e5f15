"""The agent on real parts: the shipped base model, Postgres, Valkey, and a tool over HTTP.

Tasks are called as a worker calls them, one at a time, so that a test sees what lies between.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cyrex.adapters.base_model import base_model_dir
from cyrex.engine import EngineConfig
from cyrex.serving import EngineProcess
from cyrex.tools import service as tool_registry
from database.models import Job, ToolCall
from database.session import company_session
from helox.render import ChatTemplate
from settings import get_settings
from tasks.inference import engine as inference
from tasks.workers import presence as worker
from tests import rows
from tests.support.broker import use_broker
from tests.support.environment import forget_settings


@pytest.fixture(scope="session")
def loaded() -> Iterator[EngineProcess]:
    engine = EngineProcess(EngineConfig(get_settings().base_model_path))
    engine.wait_ready(180)
    yield engine
    engine.close(0)


@pytest.fixture(scope="module")
def work(loaded: EngineProcess, database_url: str, redis_url: str) -> Iterator[None]:
    """Make this process a worker of the inference queue."""
    use_broker(redis_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOL_ALLOWED_HOSTS", "127.0.0.1")
        forget_settings()
        patch.setattr(inference, "_engine", loaded)
        patch.setattr(inference, "_template", ChatTemplate.load(base_model_dir()))
        patch.setattr(worker, "_presence", worker.Presence("test", ["inference"], dict))
        yield
    forget_settings()


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


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.server.shutdown()
    shop.server.server_close()


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


@pytest.fixture
def company(work: None, shop: Shop) -> str:
    """A company with one tool."""
    company_id = rows.company("shop")
    definitions = tool_registry.parse_tools([{**ORDER_TOOL, "endpoint": shop.url}])
    with company_session(company_id) as session:
        tool_registry.register(session, company_id, definitions)
    return company_id


def job_row(job_id: str) -> Job:
    row: Job = rows.get(Job, job_id)
    return row


def calls(company_id: str, job_id: str) -> list[ToolCall]:
    from cyrex.tools.calls import calls_of

    with company_session(company_id) as session:
        return calls_of(session, job_id)
