"""How long until workers take messages again, and until what was forgotten is told again.

Each watch runs on a thread of its own beside the disturbances.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg2
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from embedded import Stack
from embedded.supervisor import state
from embedded.supervisor.state import Status
from tests.chaos.rows import Rows

HERE = socket.gethostname()
# A process, and a queue that it alone reads. A training worker may be busy for long.
CONSUMERS = {
    "inference": f"inference.inference@{HERE}",
    "inference2": f"inference.inference2@{HERE}",
    "tools": "tools",
}
CANARY = "maintenance.canary"
CANARY_SECONDS = 1.0
BACK_SECONDS = 60.0
REISSUE_SECONDS = 120.0
POLL_SECONDS = 0.05
LOOK_SECONDS = 0.25

AWAY = (psycopg2.Error, redis.RedisError, OperationalError, OSError)


@dataclass(frozen=True)
class Crew:
    """Who could take messages when it struck: pids by process."""

    pids: dict[str, int]

    def living(self, stack: Stack) -> set[str]:
        """Those of it who have lived until now."""
        return {name for name, pid in self.pids.items() if pid_if_ready(stack, name) == pid}


def crew(stack: Stack, rows: Rows) -> Crew:
    """Those who take messages right now: of inference workers, the ones whose engine is ready."""
    try:
        able = rows.with_engines()
    except psycopg2.Error:
        able = set()
    found = {name: pid_if_ready(stack, name) for name in CONSUMERS}
    return Crew(
        {
            name: pid
            for name, pid in found.items()
            if pid is not None and (name in able or not name.startswith("inference"))
        }
    )


def pid_if_ready(stack: Stack, name: str) -> int | None:
    found = state.read(stack.layout)
    process = found.processes[name] if found else None
    return process.pid if process and process.status is Status.READY else None


class Engines:
    """Notes, on a thread of its own, when there was no engine to be had: `out`, spans of time."""

    def __init__(self, stack: Stack) -> None:
        self.out: list[tuple[float, float]] = []
        self._stack = stack
        self._rows = Rows(stack.environment["DATABASE_URL"])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._rows.close()

    def _run(self) -> None:
        since: float | None = None
        while not self._stop.wait(LOOK_SECONDS):
            able = any(name.startswith("inference") for name in crew(self._stack, self._rows).pids)
            if since is not None:
                self.out.append((since, time.time()))
            since = None if able else time.time()


class Watch:
    """Starts watches, and waits for them."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._threads: list[threading.Thread] = []

    def start(self, look: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=look, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def until_consuming(
        self, since: float, crew: Crew, found: list[float], died: Callable[[str], bool]
    ) -> None:
        """Note how long until the last of the crew takes messages again.

        Who is killed before that, or whose engine is (`died`), shows nothing.
        """
        rows = Rows(self._stack.environment["DATABASE_URL"])
        waiting, took, sent_at = set(crew.pids), [], 0.0
        while waiting and time.time() < since + BACK_SECONDS:
            try:
                if time.time() - sent_at > CANARY_SECONDS:
                    self._send_canaries(waiting)
                    sent_at = time.time()
                seen = {queue: at for queue, at in rows.canaries() if at > since}
            except AWAY:
                seen = {}
            waiting = {name for name in waiting & crew.living(self._stack) if not died(name)}
            for name in [name for name in waiting if CONSUMERS[name] in seen]:
                took.append(seen[CONSUMERS[name]] - since)
                waiting.discard(name)
            time.sleep(POLL_SECONDS)
        rows.close()
        took += [BACK_SECONDS for _ in waiting]
        found += [max(took)] if took else []

    def _send_canaries(self, names: set[str]) -> None:
        url = self._stack.environment["REDIS_URL"]
        redis.Redis.from_url(url, socket_timeout=1).ping()
        with Celery(broker=url) as app:
            for name in sorted(names):
                app.send_task(CANARY, queue=CONSUMERS[name], priority=0, retry=False, expires=5)

    def until_reissued(
        self, flushed: float, waiting: list[tuple[str, str]], found: list[float]
    ) -> None:
        """Every row that the broker knew of has been hinted at again, or claimed."""
        rows = Rows(self._stack.environment["DATABASE_URL"])
        while time.time() < flushed + REISSUE_SECONDS:
            try:
                if not rows.still_hinted(waiting, flushed):
                    break
            except psycopg2.Error:
                rows.close()
            time.sleep(POLL_SECONDS * 4)
        found.append(time.time() - flushed)
        rows.close()
