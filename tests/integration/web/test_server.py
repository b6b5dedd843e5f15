"""The API as it is deployed: gunicorn with its configuration file, over a socket."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from settings import REPOSITORY
from tests.support.database import row_counts
from tests.support.waiting import eventually
from tests.support.web import Tenant, finish_job, newest_job
from web.live import waiting

MAX_BODY = 20_000
THREADS = 4
MAX_RSS_MIB = 150


@dataclass
class Server:
    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def process_job(self, tenant: Tenant, **fields: Any) -> requests.Response:
        return requests.post(
            f"{self.url}/company-automation/process",
            json={"data": {"input": "x"}, **fields},
            headers={"Authorization": f"Bearer {tenant.key}"},
            timeout=60,
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(database_url: str, redis_url: str, folder: Path) -> Iterator[Server]:
    port, log = free_port(), folder / "web.log"
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "WEB_BIND": f"127.0.0.1:{port}",
        "WEB_PROCESSES": "1",
        "WEB_THREADS": str(THREADS),
        "MAX_REQUEST_BYTES": str(MAX_BODY),
    }
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "python:web.gunicorn_conf",
        "web:create_app()",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        )
    started = Server(f"http://127.0.0.1:{port}", port, process, log)
    try:
        eventually(lambda: answers_health(started), 30)
        yield started
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def server(
    database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with running(database_url, redis_url, tmp_path_factory.mktemp("web")) as started:
        yield started


def answers_health(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        return requests.get(f"{server.url}/healthz", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_a_body_without_a_length_is_read_to_the_limit_only(server: Server, acme: Tenant) -> None:
    before = row_counts()
    headers = {"Authorization": f"Bearer {acme.key}", "Content-Type": "application/json"}

    def chunks() -> Iterator[bytes]:
        yield b'{"data": "'
        for _ in range(20):
            yield b"a" * (MAX_BODY // 10)
        yield b'"}'

    refused = requests.post(
        f"{server.url}/company-automation/process", data=chunks(), headers=headers, timeout=20
    )
    assert refused.status_code == 413
    error = refused.json()["error"]
    assert error["code"] == "body_too_large"
    assert str(MAX_BODY) in error["message"]
    taken = requests.post(
        f"{server.url}/company-automation/process",
        data=iter([b'{"data": ', b'"a", "wait": 0}']),
        headers=headers,
        timeout=20,
    )
    assert taken.status_code == 202
    assert row_counts()["company_automation_jobs"] == before["company_automation_jobs"] + 1


def test_a_body_that_says_it_is_too_large_is_not_read(server: Server, acme: Tenant) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(
            b"POST /company-automation/process HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer " + acme.key.encode() + b"\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100000000000\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_a_request_is_found_in_the_access_log_and_its_key_is_not(
    server: Server, acme: Tenant
) -> None:
    answer = requests.get(
        f"{server.url}/companies",
        headers={"Authorization": f"Bearer {acme.key}", "X-Request-ID": "find-me-1"},
        timeout=10,
    )
    assert answer.headers["x-request-id"] == "find-me-1"
    found = eventually(
        lambda: re.search(r'"GET /companies HTTP/1.1" 200 .*find-me-1', server.log.read_text())
    )
    assert found
    assert acme.key.split("_")[2] not in server.log.read_text()


def test_a_worker_elsewhere_wakes_the_client(server: Server, acme: Tenant) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(server.process_job, acme, wait=20)
        job_id = eventually(lambda: newest_job(acme.company_id))
        time.sleep(0.3)
        ended = time.monotonic()
        finish_job(acme.company_id, job_id)
        response = waiter.result(timeout=10)
    assert time.monotonic() - ended < waiting.POLL_SECONDS / 2
    assert (response.status_code, response.json()["result"]) == (200, "answer 1")


def test_a_client_that_goes_away_gives_its_seat_back(server: Server, acme: Tenant) -> None:
    body = b'{"data": 1, "wait": 300}'
    clients = []
    for _ in range(THREADS):
        client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        client.sendall(
            b"POST /company-automation/process HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer " + acme.key.encode() + b"\r\n"
            b"Content-Type: application/json\r\n"
            b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        clients.append(client)

    def waits() -> bool:
        started = time.monotonic()
        assert server.process_job(acme, wait=0.5).status_code == 202
        return time.monotonic() - started >= 0.5

    # Three quarters of four threads wait; the fourth thread answers at once.
    time.sleep(1)
    assert not waits()
    for client in clients:
        client.close()
    eventually(waits, 2 * waiting.POLL_SECONDS + 2)


def test_a_stopping_server_lets_its_waiters_go(
    database_url: str, redis_url: str, tmp_path: Path, acme: Tenant
) -> None:
    with running(database_url, redis_url, tmp_path) as server, ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(server.process_job, acme, wait=300)
        eventually(lambda: newest_job(acme.company_id))
        time.sleep(0.3)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        response = waiter.result(timeout=20)
        assert response.status_code == 202
        assert server.process.wait(20) == 0
        assert time.monotonic() - started < 15


def test_the_process_stays_small(server: Server, acme: Tenant) -> None:
    for _ in range(30):
        assert server.process_job(acme, wait=0).status_code == 202
    pid = server.process.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert workers
    for worker in workers:
        status = Path(f"/proc/{worker}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert resident
        assert int(resident[1]) / 1024 < MAX_RSS_MIB
