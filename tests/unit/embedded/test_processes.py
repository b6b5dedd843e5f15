from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from embedded.processes import answers
from embedded.spec import stays_up


class Busy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(200 if self.path == "/ready" else 503)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_status_may_be_asked_for(address: str) -> None:
    assert answers(address, "/ready", (200,))(0.0)
    assert not answers(address, "/other", (200,))(0.0)
    assert answers(address, "/other")(0.0)


def test_nobody_there() -> None:
    assert not answers("127.0.0.1:1", "/")(0.0)


def test_stays_up() -> None:
    assert not stays_up(1.0)(0.9)
    assert stays_up(1.0)(1.0)
