"""Carries out the schedule on a running stack, and writes down who died when."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg2
import redis

from embedded import Stack, StackError
from tests.chaos import kill_points, watch
from tests.chaos.plan import STOP_SECONDS, Action
from tests.chaos.rows import Rows
from tests.chaos.watch import CONSUMERS, Crew, Engines, Watch

TRAINERS = ("training", "training2")
BACK_SECONDS = 60.0
# The first death of Redis is let alone until it has shown how long it lasts, or for so long.
PEACE_SECONDS = 5.0
CREW_SECONDS = 20.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Death:
    """Of the worker with this id, or of its engine."""

    owner: str
    at: float


@dataclass
class Record:
    """What was done. Times are the clock's, as Postgres' are.

    stops, engineless: (from, to); engineless is when there was no engine to be had. redis_back,
    stop_back, reissues: seconds from the kill, the end of the stop and the flush. missed: what
    could not be done. unheard: what the stack would not take.
    """

    kills: int = 0
    deaths: list[Death] = field(default_factory=list)
    redis_back: list[float] = field(default_factory=list)
    stop_back: list[float] = field(default_factory=list)
    stops: list[tuple[float, float]] = field(default_factory=list)
    engineless: list[tuple[float, float]] = field(default_factory=list)
    flushes: list[float] = field(default_factory=list)
    reissues: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    unheard: list[str] = field(default_factory=list)


class Disturbance:
    """One thread carries out actions; `finish` waits for what it measures beside them."""

    def __init__(self, stack: Stack, points: Path) -> None:
        self.record = Record()
        self._stack = stack
        self._points = points
        self._rows = Rows(stack.environment["DATABASE_URL"])
        self._redis_url = stack.environment["REDIS_URL"]
        self._watch = Watch(stack)
        self._engines = Engines(stack)
        self._engines.start()
        self._struck: dict[str, float] = {}

    def do(self, action: Action) -> None:
        """What cannot be done (the process is down already) is noted as missed."""
        verb, _, target = action.what.partition(":")
        try:
            getattr(self, f"_{verb}")(target)
        except (StackError, psutil.Error, psycopg2.Error, redis.RedisError) as error:
            self.record.missed.append(f"{action}: {str(error).splitlines()[0]}")

    def finish(self) -> Record:
        """Waits for what is still measured, and counts who killed itself."""
        self._watch.join()
        self._engines.stop()
        self.record.engineless = self._engines.out
        left = kill_points.disarm(self._points)
        self.record.missed += [f"nobody came to {point}" for point in left]
        for fired in kill_points.fired(self._points):
            self.record.kills += 1
            if fired.worker_id is not None:
                self.record.deaths.append(Death(fired.worker_id, fired.at))
        self._rows.close()
        return self.record

    def _kill(self, name: str) -> None:
        if name == "valkey":
            self._kill_redis()
            return
        owners = [] if name in ("postgres", "web") else self._owners(name)
        self._strike(name, owners, lambda: self._stack.kill(name))

    def _strike(self, name: str, owners: list[str], act: Callable[[], object]) -> None:
        """`act` kills process `name`, or its child."""
        at = time.time()
        act()
        self.record.kills += 1
        self._struck[name] = at
        self.record.deaths += [Death(owner, at) for owner in owners]

    def _kill_redis(self) -> None:
        first = not self.record.redis_back
        crew = self._full_crew() if first else watch.crew(self._stack, self._rows)
        at = time.time()
        self._stack.kill("valkey")
        self.record.kills += 1
        watcher = self._until_consuming(at, crew, self.record.redis_back)
        if first:
            watcher.join(PEACE_SECONDS)

    def _full_crew(self) -> Crew:
        """Wait, for a while, until everybody is there to show how long it takes."""
        give_up = time.monotonic() + CREW_SECONDS
        while True:
            found = watch.crew(self._stack, self._rows)
            if len(found.pids) == len(CONSUMERS) or time.monotonic() > give_up:
                return found
            time.sleep(POLL_SECONDS)

    def _until_consuming(self, since: float, crew: Crew, found: list[float]) -> threading.Thread:
        def struck(name: str) -> bool:
            return self._struck.get(name, 0.0) > since

        return self._watch.start(self._watch.until_consuming, since, crew, found, struck)

    def _owners(self, name: str) -> list[str]:
        """The ids of the workers that die with process `name`."""
        try:
            return self._rows.worker_ids(name)
        except psycopg2.Error:  # Postgres is down too: this death is not timed
            return []

    def _child(self, name: str) -> None:
        """An engine, or a Helox, whose worker lives on. Waits for one to be there."""
        kill = self._kill_engine if name == "engine" else self._kill_helox
        give_up = time.monotonic() + (BACK_SECONDS / 4)
        while time.monotonic() < give_up:
            with suppress(StackError, psutil.Error, psycopg2.Error):
                if kill():
                    return
            time.sleep(POLL_SECONDS)
        self.record.missed.append(f"no {name} ran")

    def _kill_engine(self) -> bool:
        """By what its worker says of it: whose child it is depends on who died before."""
        for parent, owner, pid in self._rows.engines():
            engine = psutil.Process(pid)
            if "cyrex.serving.child" in engine.cmdline():
                self._strike(parent, [owner], engine.kill)
                return True
        return False

    def _kill_helox(self) -> bool:
        for parent in TRAINERS:
            for child in psutil.Process(self._stack.pid(parent)).children(recursive=True):
                if "helox" in " ".join(child.cmdline()):
                    self._strike(parent, self._owners(parent), child.kill)
                    return True
        return False

    def _point(self, point: str) -> None:
        kill_points.arm(self._points, point)

    def _restart(self, name: str) -> None:
        """In good order, as an operator does."""
        self._stack.kill(name, signal.SIGINT)
        self.record.kills += 1

    def _stop(self, name: str) -> None:
        crew = watch.crew(self._stack, self._rows)
        self._stack.kill(name, signal.SIGSTOP)
        stopped = time.time()
        try:
            time.sleep(STOP_SECONDS)
        finally:
            self._stack.kill(name, signal.SIGCONT)
        self.record.kills += 1
        self.record.stops.append((stopped, time.time()))
        self._until_consuming(time.time(), crew, self.record.stop_back)

    def _flush(self, _name: str) -> None:
        waiting = self._until_known()
        client = redis.Redis.from_url(self._redis_url, socket_timeout=5)
        client.flushall()
        at = time.time()
        self.record.flushes.append(at)
        self._watch.start(self._watch.until_reissued, at, waiting, self.record.reissues)

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
