from __future__ import annotations

import http.server
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.layout import Layout
from embedded.stack.processes import Context, answers, table
from settings import Settings
from web.app import WAITERS_SHARE
from web.live.waiting import Seats


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


def test_one_company_cannot_have_all_threads_that_answer(tmp_path: Path) -> None:
    made = table(Context(Layout(tmp_path), defaultdict(int), {}))  # type: ignore[arg-type]
    (inference,) = [spec for spec in made if spec.name == "inference"]
    threads = int(inference.command[inference.command.index("-c") + 1])
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    seats = Seats(int(defaults["web_threads"] * WAITERS_SHARE))
    held = 0
    while seats.take("acme"):
        held += 1
    assert defaults["jobs_in_broker"] + defaults["web_processes"] * held < threads
