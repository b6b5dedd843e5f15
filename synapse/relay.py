"""The relay: carries committed events from the outbox to their streams."""

from __future__ import annotations

import threading
import time

from redis import Redis
from sqlalchemy import func, select, update

from database.models import Outbox
from database.session import operator_session
from synapse.departed import forget_departed
from synapse.envelope import wire_fields
from synapse.outage import Outage
from synapse.streams import WAKE_KEY
from synapse.trim import trim

BATCH = 100
POLL_SECONDS = 1.0
TRIM_SECONDS = 60.0


class Relay:
    """Publishes unpublished outbox rows in the order of their ids; several may run at once.

    A row is marked in the transaction that locked it, after Redis has taken its event. A death
    between the two publishes it again: the same event id, so consumers apply it once.
    """

    def __init__(self, redis: Redis, stop: threading.Event) -> None:
        self._redis = redis
        self._stop = stop
        self._trim_at = 0.0

    def run(self) -> None:
        """Publish until `stop` is set. Outlives the absence of Redis and of Postgres."""
        outage = Outage("relay", self._stop)
        while not self._stop.is_set():
            try:
                published = self.run_once()
                self._trim()
                if published < BATCH:
                    self._redis.blpop([WAKE_KEY], timeout=POLL_SECONDS)
                outage.over()
            except Exception as error:  # the thread must outlive whatever a batch meets
                outage.failed(error)

    def run_once(self) -> int:
        """Publish one batch; returns how many events. On failure it raises, and marks nothing.

        An event that Redis refuses by itself (a key of another type has its stream's name) stays
        unpublished, is raised as redis's `ResponseError`, and holds nobody else of its batch back.
        """
        with operator_session() as session:
            rows = session.execute(
                select(Outbox.id, Outbox.stream, Outbox.envelope)
                .where(Outbox.published_at.is_(None))
                .order_by(Outbox.id)
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            ).all()
            if not rows:
                return 0
            pipe = self._redis.pipeline(transaction=True)
            for row in rows:
                pipe.xadd(row.stream, wire_fields(row.envelope))  # type: ignore[arg-type]
            answers = pipe.execute(raise_on_error=False)
            taken = [
                row.id
                for row, answer in zip(rows, answers, strict=True)
                if not isinstance(answer, Exception)
            ]
            session.execute(
                update(Outbox).where(Outbox.id.in_(taken)).values(published_at=func.now())
            )
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return len(taken)

    def _trim(self) -> None:
        now = time.monotonic()
        if now >= self._trim_at:
            self._trim_at = now + TRIM_SECONDS
            trim(self._redis)
            forget_departed(self._redis)
