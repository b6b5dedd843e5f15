"""The demo's client tries again with the same key, and says what was refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from demo import client
from demo.client import Api, ApiError


class Server:
    """Answers with `answers`, (status, body), in turn; `seen` are the headers of each request."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.seen: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.seen.append(dict(self.headers))
                status, body = server.answers.pop(0)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.01)
    found = Server()
    yield found
    found.close()


def test_a_request_that_is_sent_again_has_one_effect(server: Server) -> None:
    server.answers = [(503, {}), (429, {}), (200, {"id": 1})]
    assert Api(server.url, "key").post("/things", {"a": 1}) == {"id": 1}
    assert len(server.seen) == 3
    assert len({headers["Idempotency-Key"] for headers in server.seen}) == 1
    assert {headers["Authorization"] for headers in server.seen} == {"Bearer key"}


def test_a_refusal_is_told_at_once(server: Server) -> None:
    server.answers = [(400, {"error": {"message": "name: is missing"}})]
    with pytest.raises(ApiError, match="HTTP 400: name: is missing") as refused:
        Api(server.url, "key").post("/things")
    assert refused.value.status == 400


def test_a_job_is_followed_to_its_end(server: Server) -> None:
    under_way = {"status": "running", "location": "/jobs/1"}
    server.answers = [(202, under_way), (200, under_way), (200, {"status": "completed"})]
    assert Api(server.url, "key").process({"input": "x"}) == {"status": "completed"}
    assert "Idempotency-Key" not in server.seen[-1]
