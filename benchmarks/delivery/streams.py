"""The bridge and the relay, beside bare loops that move the same entries and messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from celery import chain
from redis import Redis
from sqlalchemy import delete, insert, update

from database.base import new_id
from database.models import Company, Inbox, LoraAdapter, Outbox
from database.session import operator_session
from database.transitions import ADAPTER
from settings import get_settings
from synapse.consumer import Consumer
from synapse.envelope import Envelope
from synapse.outbox import announce, wake
from synapse.payloads import ADAPTER_READY, JOB_UPDATED
from synapse.relay import Relay
from synapse.streams import (
    COMPANY_AUTOMATION_JOBS,
    CONSUMED,
    GROUP,
    LORA_ADAPTER_READY,
    MODEL_EVENTS,
    connect,
)
from tasks import app
from tasks.bridge.effects import effect
from tasks.broker.queues import lists_of

COMPANIES = [f"bench-{n}" for n in range(8)]
BATCH = 100
# Seconds between two announcements, so that the relay is idle, as it is most of the time.
RELAY_PAUSE_SECONDS = 0.005


def make_companies() -> None:
    with operator_session() as session:
        session.execute(insert(Company), [{"company_id": c, "name": c} for c in COMPANIES])


def forget(redis: Redis) -> None:
    """Empty streams, queues, inbox and outbox, so that all rounds start alike."""
    redis.flushdb()
    with operator_session() as session:
        for model in (Inbox, Outbox, LoraAdapter):
            session.execute(delete(model))


def fill(redis: Redis, stream: str, kind: str, datas: list[dict[str, Any]]) -> None:
    """Add one event for each of `datas`, companies in turn, and create the group."""
    pipe = redis.pipeline(transaction=False)
    for name in CONSUMED:
        pipe.xgroup_create(name, GROUP, id="0", mkstream=True)
    for data in datas:
        values = {"event_id": new_id(), "type": kind, "company_id": data["company_id"]}
        fields = Envelope.of(stream, {**values, "source": "bench", "data": data}).to_fields()
        pipe.xadd(stream, fields)  # type: ignore[arg-type]
    pipe.execute()


def news(count: int) -> list[dict[str, Any]]:
    """Events of jobs, which most events on the streams are."""
    return [
        {"job_id": new_id(), "company_id": COMPANIES[n % len(COMPANIES)], "status": "completed"}
        for n in range(count)
    ]


def bridge(count: int) -> float:
    """Events a second: read, validated, put into the inbox, committed, acknowledged."""
    redis = connect()
    forget(redis)
    fill(redis, COMPANY_AUTOMATION_JOBS, JOB_UPDATED, news(count))
    return count / _seconds(lambda: _consume(redis, count))


def bare(count: int) -> float:
    """Entries a second, read in the same batches by the same client and acknowledged."""
    redis = connect()
    forget(redis)
    fill(redis, COMPANY_AUTOMATION_JOBS, JOB_UPDATED, news(count))

    def loop() -> None:
        seen = 0
        streams: Any = dict.fromkeys(CONSUMED, ">")
        while seen < count:
            answer: Any = redis.xreadgroup(GROUP, "bare", streams, count=BATCH, block=500)
            for stream, entries in answer.items() if isinstance(answer, dict) else answer:
                redis.xack(stream, GROUP, *[entry_id for entry_id, _fields in entries])
                seen += len(entries)

    return count / _seconds(loop)


def _consume(redis: Redis, count: int) -> None:
    consumer = Consumer(redis, CONSUMED, "bench", effect, threading.Event())
    seen = 0
    while seen < count:
        seen += consumer.run_once()


def chains(count: int) -> float:
    """Events a second that each move a row, forward an event and publish a chain."""
    redis = connect()
    forget(redis)
    ids = _registered(count)
    fill(
        redis,
        LORA_ADAPTER_READY,
        ADAPTER_READY,
        [{"adapter_id": adapter_id, "company_id": company} for company, adapter_id in ids],
    )
    seconds = _seconds(lambda: _consume(redis, count))
    assert _depth(redis, "inference") == count, "each event has published its chain"
    return count / seconds


def bare_publish(count: int) -> float:
    """Chains a second when a loop publishes the same ones."""
    redis = connect()
    forget(redis)
    ids = [(COMPANIES[n % len(COMPANIES)], new_id()) for n in range(count)]

    def loop() -> None:
        for company, adapter_id in ids:
            chain(
                *[
                    app.signature(
                        f"adapter.{step}",
                        args=(company, adapter_id, step, 1),
                        immutable=True,
                        queue=ADAPTER.queues[step],
                        priority=3,
                    )
                    for step in ADAPTER.steps
                ]
            ).apply_async()

    seconds = _seconds(loop)
    assert _depth(redis, "inference") == count
    return count / seconds


def _depth(redis: Redis, queue: str) -> int:
    return sum(redis.llen(name) for name in lists_of(queue))


def _registered(count: int) -> list[tuple[str, str]]:
    """Make `count` adapters that wait to be announced; returns (company, adapter) of each."""
    settings = get_settings()
    rows = [
        {
            "adapter_id": new_id(),
            "company_id": COMPANIES[n % len(COMPANIES)],
            "version": n // len(COMPANIES) + 1,
            "base_model": settings.base_model_path,
            "base_model_revision": settings.base_model_revision,
            "adapter_type": "lora",
            "status": "registered",
            "registry_path": "none",
            "sha256": "a" * 64,
        }
        for n in range(count)
    ]
    with operator_session() as session:
        session.execute(insert(LoraAdapter), rows)
    return [(str(row["company_id"]), str(row["adapter_id"])) for row in rows]


def relay(count: int) -> list[float]:
    """Milliseconds from the commit of an event until a reader has it from its stream."""
    redis, reader = connect(), connect()
    forget(redis)
    with operator_session() as session:
        session.execute(update(Outbox).values(published_at=None))
    stop = threading.Event()
    thread = threading.Thread(target=Relay(connect(), stop).run, daemon=True)
    thread.start()
    try:
        return list(_relayed(redis, reader, count))
    finally:
        stop.set()
        thread.join()


def _relayed(redis: Redis, reader: Redis, count: int) -> Iterator[float]:
    after = "0"
    for n in range(count):
        data = {"event": "bench", "number": n}
        with operator_session() as session:
            announce(session, MODEL_EVENTS, "model.event", COMPANIES[0], data)
        committed = time.perf_counter()
        wake(redis)
        answer: Any = reader.xread({MODEL_EVENTS: after}, count=1, block=5000)
        found = time.perf_counter()
        pairs = answer.items() if isinstance(answer, dict) else answer
        ((_stream, ((after, _fields),)),) = pairs
        yield (found - committed) * 1000
        time.sleep(RELAY_PAUSE_SECONDS)


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
