"""Submitting a job over HTTP, beside Flask with one INSERT under the same server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from sqlalchemy import delete, insert

from cyrex.tenants.keys import issue_key
from database.models import Company, Job, Outbox
from database.session import operator_session
from tasks.broker import connection

REPOSITORY = Path(__file__).resolve().parents[2]
# Enough companies that none exceeds its share of the broker in a round.
COMPANIES = [f"submit-{n}" for n in range(64)]
CALLERS = 16
# Enough connections that a slow answer delays no later request.
OPEN_CALLERS = 64
START_SECONDS = 60.0
TIMEOUT_SECONDS = 30.0
STOP_SECONDS = 20.0
ACCEPTED = b"HTTP/1.1 202"


@dataclass(frozen=True)
class Server:
    """A server and its prepared requests as bytes, so that the client costs little."""

    port: int
    requests: Sequence[bytes]


def make_keys() -> list[str]:
    """Make companies; returns a key of each."""
    with operator_session() as session:
        session.execute(insert(Company), [{"company_id": c, "name": c} for c in COMPANIES])
        return [issue_key(session, "company", company) for company in COMPANIES]


def forget() -> None:
    """Delete all jobs and messages, so that all rounds start alike."""
    connection.broker().flushdb()
    with operator_session() as session:
        session.execute(delete(Job))
        session.execute(delete(Outbox))


@contextmanager
def product(keys: Sequence[str]) -> Iterator[Server]:
    """The API, started as in production."""
    body = {"data": {"input": "Is this invoice paid?"}, "wait": 0, "metadata": {"order": 17}}
    requests = [_request("/company-automation/process", body, key) for key in keys]
    command = ["gunicorn", "-c", "python:web.gunicorn_conf", "web:create_app()"]
    with _running(command, requests) as server:
        yield server


@contextmanager
def bare() -> Iterator[Server]:
    """The same server with the same workers and threads around the bare application."""
    body = {"data": {"input": "Is this invoice paid?"}, "metadata": {"order": 17}}
    command = [
        "gunicorn",
        "-c",
        "python:web.gunicorn_conf",
        "benchmarks.delivery.bare:create_app()",
    ]
    with _running(command, [_request("/jobs", body, None)]) as server:
        yield server


@contextmanager
def _running(command: list[str], requests: Sequence[bytes]) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "WEB_BIND": f"127.0.0.1:{port}", "PYTHONPATH": path}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**environment, "LOG_LEVEL": "ERROR"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server = Server(port, requests)
        _until_up(server)
        yield server
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _request(path: str, body: object, key: str | None) -> bytes:
    content = json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Host: bench", "Content-Type: application/json"]
    head += [f"Content-Length: {len(content)}"]
    head += [f"Authorization: Bearer {key}"] if key else []
    return "\r\n".join([*head, "", ""]).encode() + content


class _Caller:
    """One keep-alive connection."""

    def __init__(self, server: Server) -> None:
        address = ("127.0.0.1", server.port)
        self._socket = socket.create_connection(address, timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, request: bytes) -> None:
        """Send, and read the whole answer. Raises AssertionError unless it was accepted."""
        self._socket.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = self._socket.recv(65536)
            assert more, "the server has closed the connection"
            answer += more
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert head.startswith(ACCEPTED), answer[:300]
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(rest) < length:
            rest += self._socket.recv(65536)

    def close(self) -> None:
        self._socket.close()


def _until_up(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            caller = _Caller(server)
            caller.call(server.requests[0])
            caller.close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def closed_loop(server: Server, count: int) -> float:
    """Requests a second of a few callers that each send the next request after an answer."""
    forget()
    local = threading.local()
    made: list[_Caller] = []

    def ask(request: bytes) -> None:
        if not hasattr(local, "caller"):
            local.caller = _Caller(server)
            made.append(local.caller)
        local.caller.call(request)

    requests = cycle(server.requests)
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(ask, [next(requests) for _ in range(CALLERS * 4)]))
        started = time.perf_counter()
        list(pool.map(ask, [next(requests) for _ in range(count)]))
        seconds = time.perf_counter() - started
    for caller in made:
        caller.close()
    return count / seconds


def open_loop(server: Server, rate: float, seconds: float) -> list[float]:
    """Milliseconds from each request's due time to its answer."""
    forget()
    local = threading.local()
    taken: list[float] = []
    began = time.perf_counter() + 0.5

    def ask(job: tuple[int, bytes]) -> None:
        number, request = job
        if not hasattr(local, "caller"):
            local.caller = _Caller(server)
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        local.caller.call(request)
        taken.append((time.perf_counter() - due) * 1000)

    requests = cycle(server.requests)
    with ThreadPoolExecutor(OPEN_CALLERS) as pool:
        list(pool.map(ask, [(n, next(requests)) for n in range(int(rate * seconds))]))
    return taken
