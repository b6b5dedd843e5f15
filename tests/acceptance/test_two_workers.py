"""Two inference workers on one broker: a company stays with one, and outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import psycopg2
import pytest

from demo.client import Api
from embedded import Stack
from tasks.broker.routing import WORKERS_SECONDS, preferred
from tests.support.waiting import eventually

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
ANSWERS = 6


def workers(stack: Stack) -> dict[str, int]:
    """Tokens that each live inference worker's engine has generated, by node."""
    connection = psycopg2.connect(stack.environment["DATABASE_URL"].replace("+psycopg2", ""))
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE cyrex_operator")
            cursor.execute(
                "SELECT node, (details->'engine'->>'generated_tokens')::int FROM workers"
                " WHERE 'inference' = ANY(queues) AND heartbeat_at > now() - interval '8 seconds'"
                " AND details->'engine' IS NOT NULL"
            )
            return {node: tokens or 0 for node, tokens in cursor.fetchall()}
    finally:
        connection.close()


@pytest.fixture
def second(stack: Stack, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", "inference"]
    process = subprocess.Popen(
        [*command, "-P", "threads", "-c", "16", "-n", "second@%h"],
        env={**os.environ, **stack.environment},
        stdout=(tmp_path / "second.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        eventually(lambda: len(workers(stack)) == 2, 120, "the second worker")
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_company_stays_with_a_worker_and_outlives_it(
    stack: Stack, operator: Api, second: subprocess.Popen[bytes]
) -> None:
    nodes = tuple(sorted(workers(stack)))
    mine = next(node for node in nodes if node.startswith("second@"))
    # A company that prefers the second worker.
    name = next(f"pair-{n}" for n in range(100) if preferred(f"pair-{n}", nodes) == mine)
    made = operator.post("/companies", {"company_id": name})
    client = openai.OpenAI(base_url=f"{operator.url}/v1", api_key=made["api_key"], max_retries=0)

    def answer(_number: int = 0) -> Any:
        return client.chat.completions.create(model="base", messages=MESSAGES, max_tokens=8)

    time.sleep(2 * WORKERS_SECONDS)  # until the API knows of both
    before = workers(stack)
    for _ in range(ANSWERS):
        answer()
    after = eventually(
        lambda: (now := workers(stack))[mine] > before[mine] and now, 10, "a heartbeat"
    )
    assert all(after[node] == before[node] for node in nodes if node != mine)

    second.send_signal(signal.SIGKILL)
    second.wait()
    with ThreadPoolExecutor(ANSWERS) as pool:
        answers = list(pool.map(answer, range(ANSWERS)))
    assert all(found.choices for found in answers), "asked again, of whoever lives"
