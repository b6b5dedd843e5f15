"""The state of the queues: their depth in the broker, and whether workers take from them.

A worker that shows a heartbeat may still take nothing: its connection to the broker may be gone
without a sign. So beat sends each queue a canary, a task of no other use; whoever runs it says so
in Postgres. `states` combines the canaries with the heartbeats.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from database.models import Canary, Worker
from database.transitions import HEARTBEAT_EXPIRY_SECONDS
from tasks import SENT_AT, app

# Beat sends a canary every 10 s; one that does not arrive may be lost.
CANARY_FRESH_SECONDS = 30.0
# Between the name of a queue and the number of a priority (kombu's).
PRIORITY_MARK = "\x06\x16"

OK, BUSY, STARTING, STUCK, DOWN = "ok", "busy", "starting", "stuck", "down"
# Healthy states: nobody needs to act.
HEALTHY = (OK, BUSY, STARTING)


@dataclass(frozen=True)
class QueueState:
    """A queue's health. `canary_seconds`: since its last canary was run."""

    status: str
    workers: int
    canary_seconds: float | None


@dataclass(frozen=True)
class Backlog:
    """A queue's messages in the broker. `oldest_seconds`: since the oldest one was sent."""

    depth: int
    oldest_seconds: float | None


@dataclass
class _WorkerTotals:
    """The live workers of one queue, added up."""

    workers: int = 0
    slots: int = 0
    busy: int = 0
    youngest_only: bool = True

    def add(self, details: dict[str, Any], started_seconds: float) -> None:
        self.workers += 1
        self.slots += int(details.get("slots", 1))
        self.busy += int(details.get("busy", 0))
        self.youngest_only &= started_seconds < CANARY_FRESH_SECONDS


def names() -> list[str]:
    """The queues, in the order of the configuration."""
    return [str(queue.name) for queue in app.conf.task_queues]


def states(session: Session) -> dict[str, QueueState]:
    """Each queue's state: `ok` (a canary came through of late), `busy` (no slot is free),
    `starting`, `stuck` (there are workers, and they take nothing), `down` (there are none).

    Any role may ask.
    """
    totals: defaultdict[str, _WorkerTotals] = defaultdict(_WorkerTotals)
    listed = session.execute(
        select(Worker.queues, Worker.details, _age(Worker.started_at)).where(
            _age(Worker.heartbeat_at) < HEARTBEAT_EXPIRY_SECONDS
        )
    )
    for queues, details, started in listed:
        for name in queues:
            totals[name].add(details, float(started))
    seen: dict[str, Any] = dict(session.execute(select(Canary.queue, _age(Canary.seen_at))).all())
    return {name: _state(totals[name], seen.get(name)) for name in names()}


def _state(workers: _WorkerTotals, canary: Any) -> QueueState:
    seconds = None if canary is None else round(max(0.0, float(canary)), 3)
    if workers.workers == 0:
        status = DOWN
    elif seconds is not None and seconds < CANARY_FRESH_SECONDS:
        status = OK
    elif workers.busy >= workers.slots:
        status = BUSY
    else:
        status = STARTING if workers.youngest_only else STUCK
    return QueueState(status, workers.workers, seconds)


def _age(moment: Any) -> Any:
    return func.extract("epoch", func.now() - moment)


def backlog(client: redis.Redis, more: Sequence[str] = ()) -> dict[str, Backlog]:
    """Depth and age of each queue, and of those named. Raises `redis.RedisError`."""
    found = {}
    for name in (*names(), *more):
        pipe = client.pipeline(transaction=False)
        for key in lists_of(name):
            pipe.llen(key)
            pipe.lindex(key, -1)  # the end that workers take from
        answers = pipe.execute()
        ages = [_age_of(message) for message in answers[1::2] if message is not None]
        known = [seconds for seconds in ages if seconds is not None]
        found[name] = Backlog(sum(answers[::2]), max(known, default=None))
    return found


def lists_of(queue: str) -> list[str]:
    """The broker's lists that make up a queue: one for each priority."""
    steps = app.conf.broker_transport_options["priority_steps"]
    return [f"{queue}{PRIORITY_MARK}{step}" if step else queue for step in steps]


def _age_of(message: bytes) -> float | None:
    try:
        sent_at = float(json.loads(message)["headers"][SENT_AT])
    except (ValueError, KeyError, TypeError):
        return None
    return round(max(0.0, time.time() - sent_at), 3)


def record_canary(session: Session, queue: str, node: str, seconds: float) -> None:
    """A worker has run the queue's canary, so long after it was sent."""
    values = {"node": node, "seconds": seconds, "seen_at": func.now()}
    statement = insert(Canary).values(queue=queue, **values)
    session.execute(statement.on_conflict_do_update(index_elements=[Canary.queue], set_=values))
