"""The consumer when something is killed: itself, Redis, Postgres."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy
from redis import Redis
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

import settings
from database.models import DeadLetter, Inbox
from database.session import operator_session
from synapse.consumer import Consumer
from synapse.envelope import Envelope
from synapse.outbox import announce
from synapse.payloads import MODEL_EVENT
from synapse.streams import GROUP, MODEL_EVENTS, connect

Wait = Callable[..., float]
InThread = Callable[[Callable[[], None]], None]

# A real process that kills itself with SIGKILL at one point of its first batch.
KILLED = """
import os, signal, sys, threading
from synapse.consumer import Consumer
from synapse.outbox import announce
from synapse.streams import MODEL_EVENTS, connect

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def effect(session, stream, envelope):
    data = {"event": "mark", "of": envelope.event_id}
    announce(session, MODEL_EVENTS, "model.event", None, data)
    session.flush()
    if sys.argv[1] == "before the commit":
        die()
    return die

Consumer(connect(), (MODEL_EVENTS,), "bridge-1", effect, threading.Event()).run()
"""


def add(redis: Redis, company: str, *event_ids: str) -> None:
    for event_id in event_ids:
        envelope = Envelope(
            event_id=event_id,
            type=MODEL_EVENT,
            company_id=company,
            correlation_id=event_id,
            data={"event": "loaded"},
        )
        fields: Any = envelope.to_fields()
        redis.xadd(MODEL_EVENTS, fields)


def nothing(_session: Session, _stream: str, _envelope: Envelope) -> None:
    return None


def applied() -> set[str]:
    with operator_session() as session:
        return set(session.scalars(select(Inbox.event_id).where(Inbox.outcome == "applied")))


def marks() -> Counter[str]:
    with operator_session() as session:
        statement = "SELECT envelope->'data'->>'of' FROM outbox WHERE envelope->'data' ? 'of'"
        return Counter(session.scalars(sqlalchemy.text(statement)))


def pending(redis: Redis) -> list[Any]:
    rows: Any = redis.xpending_range(MODEL_EVENTS, GROUP, "-", "+", 100)
    return list(rows)


@pytest.mark.parametrize(
    ("moment", "left"),
    [("before the commit", {}), ("before the acknowledgement", {"e1": 1, "e2": 1})],
)
def test_killed(moment: str, left: dict[str, int], company: str, redis: Redis) -> None:
    add(redis, company, "e1", "e2")
    root = str(Path(settings.__file__).parent)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, moment], env={**os.environ, "PYTHONPATH": root}, timeout=30
    )
    assert ended.returncode == -signal.SIGKILL
    assert (len(pending(redis)), marks()) == (2, left)

    def effect(session: Session, stream: str, envelope: Envelope) -> None:
        data = {"event": "mark", "of": envelope.event_id}
        announce(session, MODEL_EVENTS, MODEL_EVENT, None, data)

    heir = Consumer(
        redis, (MODEL_EVENTS,), "bridge-1", effect, threading.Event(), retry_seconds=0.01
    )
    time.sleep(0.05)
    heir.run_once(block_ms=1)
    assert pending(redis) == []
    assert marks() == {"e1": 1, "e2": 1}


def test_redis_is_killed_and_comes_back(
    company: str,
    own_valkey: Any,
    stop: threading.Event,
    in_thread: InThread,
    eventually: Wait,
) -> None:
    reader = Consumer(connect(own_valkey.url), (MODEL_EVENTS,), "bridge-1", nothing, stop)
    in_thread(reader.run)
    add(connect(own_valkey.url), company, "e1")
    eventually(lambda: applied() == {"e1"})
    for number in range(2, 5):
        own_valkey.kill()
        time.sleep(0.5)
        own_valkey.start()
        add(connect(own_valkey.url), company, f"e{number}")
        took = eventually(lambda: f"e{number}" in applied())  # noqa: B023 - called at once
        assert took < 5
    assert applied() == {"e1", "e2", "e3", "e4"}


def test_redis_is_flushed(
    company: str, own_valkey: Any, stop: threading.Event, in_thread: InThread, eventually: Wait
) -> None:
    client = connect(own_valkey.url)
    in_thread(Consumer(connect(own_valkey.url), (MODEL_EVENTS,), "bridge-1", nothing, stop).run)
    for number in range(3):
        # Once with the group there, then right after it was lost: while the consumer waits on it.
        add(client, company, f"e{number}")
        eventually(lambda: f"e{number}" in applied())  # noqa: B023 - called at once
        client.flushall()
    add(client, company, "again")
    eventually(lambda: "again" in applied())
    eventually(lambda: pending(client) == [])


def test_postgres_ends_the_connection_in_the_middle_of_a_batch(
    company: str, redis: Redis, database_url: str
) -> None:
    url = make_url(database_url)
    killed: list[int] = []

    def effect(session: Session, _stream: str, envelope: Envelope) -> None:
        if envelope.event_id == "e2" and len(killed) < 2:
            pid = session.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))
            connection = psycopg2.connect(
                url.set(drivername="postgresql").render_as_string(hide_password=False)
            )
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
            connection.close()
            killed.append(pid)
            time.sleep(0.1)
        session.execute(sqlalchemy.text("SELECT 1"))

    stop = threading.Event()
    reader = Consumer(redis, (MODEL_EVENTS,), "bridge-1", effect, stop, retry_seconds=0.01)
    reader.run_once(1)
    add(redis, company, "e1", "e2", "e3")
    with pytest.raises(sqlalchemy.exc.DBAPIError):
        reader.run_once(1)
    assert applied() == set()
    deadline = time.monotonic() + 5
    while pending(redis) and time.monotonic() < deadline:
        reader.run_once(20)
    assert applied() == {"e1", "e2", "e3"}
    assert len(killed) == 2


def test_a_postgres_that_is_away_costs_no_tries(
    company: str,
    redis: Redis,
    redis_url: str,
    database_url: str,
    servers: Any,
    stop: threading.Event,
    in_thread: InThread,
    eventually: Wait,
) -> None:
    reader = Consumer(
        connect(redis_url), (MODEL_EVENTS,), "bridge-1", nothing, stop, retry_seconds=0.01
    )
    in_thread(reader.run)
    add(redis, company, "e1")
    eventually(lambda: applied() == {"e1"})
    name = str(make_url(database_url).database)
    superuser = psycopg2.connect(servers.superuser_url())
    superuser.autocommit = True
    try:
        with superuser.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            add(redis, company, "e2")
            time.sleep(2)
            add(redis, company, "e3")
            time.sleep(1)
            assert [row["times_delivered"] for row in pending(redis)] == [1]
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    finally:
        superuser.close()
    took = eventually(lambda: {"e1", "e2", "e3"} == applied())
    assert took < 5
    with operator_session() as session:
        assert session.scalars(select(DeadLetter)).all() == []
