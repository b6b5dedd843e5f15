"""The companies' own server, which writes down every call before it answers."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.chaos.ledger import Ledger

# Long enough for a death to find calls on their way.
ANSWER_SECONDS = 0.2


@dataclass(frozen=True)
class Arrival:
    """A call as the tool saw it. `key` is its Idempotency-Key."""

    company: str
    order: str
    key: str | None
    at: float


class ToolServer:
    """`url(company)` is where that company's tool is called; `log` holds a line a call."""

    def __init__(self, log: Path) -> None:
        ledger = Ledger(log)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers.get("Idempotency-Key")
                company = self.path.rpartition("/")[2]
                ledger.write(Arrival(company, str(body.get("order_id")), key, time.time()))
                time.sleep(ANSWER_SECONDS)
                answer = json.dumps({"status": "shipped"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments: Any) -> None:
                """The ledger is the log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, company: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/orders/{company}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def read(log: Path) -> list[Arrival]:
    if not log.exists():
        return []
    return [Arrival(**json.loads(line)) for line in log.read_text().splitlines()]
