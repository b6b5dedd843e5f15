"""Carries out the schedule on a running stack, and writes down who died when."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg2
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from embedded import Stack, StackError, state
from embedded.state import Status
from tests.chaos import kill_points
from tests.chaos.plan import STOP_SECONDS, Action
from tests.chaos.rows import Rows

SIGNS = {"engine": ("inference", "cyrex.serving"), "helox": ("training", "helox")}
HOLDERS = ("training", "training2")
# Queues with one process of the same name. A training worker may be busy for long.
CONSUMERS = ("inference", "tools")
CANARY = "maintenance.canary"
BACK_SECONDS = 60.0
REISSUE_SECONDS = 120.0
POLL_SECONDS = 0.05


@dataclass
class Record:
    """What was done. Times are the clock's, as Postgres' are.

    deaths: by worker id. stops: (from, to). redis_back, stop_back, reissues: seconds from the kill,
    the end of the stop and the flush.
    """

    kills: int = 0
    deaths: dict[str, float] = field(default_factory=dict)
    redis_back: list[float] = field(default_factory=list)
    stop_back: list[float] = field(default_factory=list)
    stops: list[tuple[float, float]] = field(default_factory=list)
    flushes: list[float] = field(default_factory=list)
    reissues: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


class Disturbance:
    """One thread carries out actions; `finish` waits for what it measures beside them."""

    def __init__(self, stack: Stack, points: Path) -> None:
        self.record = Record()
        self._stack = stack
        self._points = points
        self._rows = Rows(stack.environment["DATABASE_URL"])
        self._redis_url = stack.environment["REDIS_URL"]
        self._watchers: list[threading.Thread] = []

    def do(self, action: Action) -> None:
        """What cannot be done (the process is down already) is noted as missed."""
        verb, _, target = action.what.partition(":")
        try:
            getattr(self, f"_{verb}")(target)
        except (StackError, psutil.Error, psycopg2.Error, redis.RedisError) as error:
            self.record.missed.append(f"{action}: {str(error).splitlines()[0]}")

    def finish(self) -> Record:
        """Waits for what is still measured, and counts who killed itself."""
        for watcher in self._watchers:
            watcher.join()
        left = kill_points.disarm(self._points)
        self.record.missed += [f"nobody came to {point}" for point in left]
        for fired in kill_points.fired(self._points):
            self.record.kills += 1
            if fired.worker_id is not None:
                self.record.deaths[fired.worker_id] = fired.at
        self._rows.close()
        return self.record

    def _kill(self, name: str) -> None:
        owners = [] if name in ("valkey", "postgres", "web") else self._owners(name)
        at = time.time()
        self._stack.kill(name)
        self.record.kills += 1
        self.record.deaths |= dict.fromkeys(owners, at)
        if name == "valkey":
            self._watch(self._until_consuming, at, self.record.redis_back)

    def _owners(self, name: str) -> list[str]:
        """The ids of the workers that die with process `name`."""
        try:
            return self._rows.worker_ids(name)
        except psycopg2.Error:  # Postgres is down too: this death is not timed
            return []

    def _child(self, name: str) -> None:
        """The engine, or Helox: children of workers, which live on. Waits for one to be there."""
        process, words = SIGNS[name]
        give_up = time.monotonic() + (BACK_SECONDS / 4)
        while time.monotonic() < give_up:
            for parent in HOLDERS if process == "training" else (process,):
                if self._kill_below(parent, words):
                    return
            time.sleep(POLL_SECONDS)
        self.record.missed.append(f"no {name} ran")

    def _kill_below(self, parent: str, words: str) -> bool:
        try:
            children = psutil.Process(self._stack.pid(parent)).children(recursive=True)
            for child in children:
                if words in " ".join(child.cmdline()):
                    child.send_signal(signal.SIGKILL)
                    self.record.kills += 1
                    return True
        except (StackError, psutil.Error):
            pass
        return False

    def _point(self, point: str) -> None:
        kill_points.arm(self._points, point)

    def _restart(self, name: str) -> None:
        """In good order, as an operator does."""
        self._stack.kill(name, signal.SIGINT)
        self.record.kills += 1

    def _stop(self, name: str) -> None:
        self._stack.kill(name, signal.SIGSTOP)
        stopped = time.time()
        try:
            time.sleep(STOP_SECONDS)
        finally:
            self._stack.kill(name, signal.SIGCONT)
        self.record.kills += 1
        self.record.stops.append((stopped, time.time()))
        self._watch(self._until_consuming, time.time(), self.record.stop_back)

    def _flush(self, _name: str) -> None:
        waiting = self._until_known()
        client = redis.Redis.from_url(self._redis_url, socket_timeout=5)
        client.flushall()
        at = time.time()
        self.record.flushes.append(at)
        self._watch(self._until_reissued, at, waiting)

    def _until_known(self) -> list[tuple[str, str]]:
        """What the broker knows of; asked for until Postgres answers."""
        give_up = time.monotonic() + BACK_SECONDS
        while True:
            try:
                return self._rows.hinted()
            except psycopg2.Error:
                if time.monotonic() > give_up:
                    raise
            time.sleep(POLL_SECONDS)

    def _watch(self, look: object, *arguments: object) -> None:
        thread = threading.Thread(target=look, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._watchers.append(thread)

    def _until_consuming(self, since: float, found: list[float]) -> None:
        """Note how long until the last worker that lived through it takes messages again."""
        rows = Rows(self._stack.environment["DATABASE_URL"])
        before = {name: self._pid_if_ready(name) for name in CONSUMERS}
        sent: dict[str, float] = {}
        seen: dict[str, float] = {}
        while time.time() < since + BACK_SECONDS and len(seen) < len(CONSUMERS):
            try:
                if not sent:
                    self._send_canaries()
                    sent = dict.fromkeys(CONSUMERS, time.time())
                for queue, at in rows.canaries():
                    if queue in CONSUMERS and at > since and queue not in seen:
                        seen[queue] = at
            except (psycopg2.Error, redis.RedisError, OperationalError, OSError):
                pass
            time.sleep(POLL_SECONDS)
        rows.close()
        lived = [name for name in CONSUMERS if self._pid_if_ready(name) == before[name] is not None]
        found += (
            [max(seen.get(name, since + BACK_SECONDS) - since for name in lived)] if lived else []
        )

    def _send_canaries(self) -> None:
        redis.Redis.from_url(self._redis_url, socket_timeout=1).ping()
        with Celery(broker=self._redis_url) as app:
            for queue in CONSUMERS:
                app.send_task(CANARY, queue=queue, priority=0, retry=False)

    def _pid_if_ready(self, name: str) -> int | None:
        found = state.read(self._stack.layout)
        process = found.processes[name] if found else None
        return process.pid if process and process.status is Status.READY else None

    def _until_reissued(self, flushed: float, waiting: list[tuple[str, str]]) -> None:
        """Every row that the broker knew of has been hinted at again, or claimed."""
        rows = Rows(self._stack.environment["DATABASE_URL"])
        while time.time() < flushed + REISSUE_SECONDS:
            try:
                if not rows.still_hinted(waiting, flushed):
                    break
            except psycopg2.Error:
                rows.close()
            time.sleep(POLL_SECONDS * 4)
        self.record.reissues.append(time.time() - flushed)
        rows.close()
