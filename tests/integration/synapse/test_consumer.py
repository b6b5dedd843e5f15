"""The consumer: one effect for each event, whatever is doubled, broken or taken away."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from database.models import DeadLetter, Inbox, Outbox
from database.session import operator_session
from synapse.consumer import AfterCommit, Consumer, EventRefused
from synapse.envelope import Envelope
from synapse.group import MAX_TRIES
from synapse.outbox import announce
from synapse.payloads import MODEL_EVENT, ModelEvent, TrainingRequested
from synapse.streams import (
    CHANNELS,
    GROUP,
    LORA_ADAPTER_READY,
    LORA_ADAPTER_REQUESTS,
    LORA_TRAINING_REQUESTS,
    MODEL_EVENTS,
    connect,
)

RETRY_SECONDS = 0.01


def event(company: str, event_id: str, name: str = "loaded") -> dict[str, str]:
    return Envelope(
        event_id=event_id,
        type=MODEL_EVENT,
        company_id=company,
        correlation_id=event_id,
        data={"event": name},
    ).to_fields()


def add(redis: Redis, entry: Any, stream: str = MODEL_EVENTS) -> Any:
    """Append an entry; returns its id."""
    return redis.xadd(stream, entry)


def mark(session: Session, stream: str, envelope: Envelope) -> AfterCommit | None:
    """The effect of these tests: a row that says whose effect it is, any number of times."""
    announce(session, MODEL_EVENTS, MODEL_EVENT, None, {"event": "mark", "of": envelope.event_id})
    return None


def marks() -> Counter[str]:
    with operator_session() as session:
        return Counter(
            row["data"]["of"]
            for row in session.scalars(select(Outbox.envelope))
            if row["data"]["event"] == "mark"
        )


def dead_letters() -> list[DeadLetter]:
    with operator_session() as session:
        return list(session.scalars(select(DeadLetter).order_by(DeadLetter.id)))


def outcomes() -> dict[str, str]:
    with operator_session() as session:
        return {row.event_id: row.outcome for row in session.scalars(select(Inbox))}


def pending(redis: Redis, stream: str = MODEL_EVENTS) -> int:
    summary: Any = redis.xpending(stream, GROUP)
    return int(summary["pending"])


def consumer(
    redis: Redis,
    effect: Callable[[Session, str, Envelope], AfterCommit | None] = mark,
    streams: tuple[str, ...] = (MODEL_EVENTS,),
    name: str = "bridge-1",
    claim_idle_seconds: float = 30.0,
) -> Consumer:
    """A consumer whose group stands."""
    made = Consumer(
        redis,
        streams,
        name,
        effect,
        threading.Event(),
        claim_idle_seconds=claim_idle_seconds,
        retry_seconds=RETRY_SECONDS,
    )
    made.run_once(block_ms=1)
    return made


def drain(reader: Consumer, redis: Redis) -> None:
    """Run until nothing is new and nothing pending."""
    for _ in range(300):
        if reader.run_once(block_ms=20) == 0 and pending(redis) == 0:
            return
    pytest.fail("entries stay pending")


def test_three_times_each_entry_is_one_effect(company: str, redis: Redis) -> None:
    reader = consumer(redis)
    entries = [event(company, f"e{number % 150}") for number in range(450)]
    random.Random(1).shuffle(entries)
    for entry in entries[:300]:
        add(redis, entry)
    drain(reader, redis)
    for entry in entries[300:]:
        add(redis, entry)
    drain(reader, redis)
    assert marks() == Counter({f"e{number}": 1 for number in range(150)})
    assert set(outcomes().values()) == {"applied"}


def test_two_consumers_share_and_never_double(company: str, redis: Redis, redis_url: str) -> None:
    first, second = consumer(redis), consumer(connect(redis_url), name="bridge-2")
    for number in range(900):
        add(redis, event(company, f"e{number % 300}"))
    threads = [threading.Thread(target=drain, args=(reader, redis)) for reader in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert marks() == Counter({f"e{number}": 1 for number in range(300)})
    assert pending(redis) == 0


def test_what_was_committed_but_not_acknowledged(company: str, redis: Redis) -> None:
    reader = consumer(redis)
    add(redis, event(company, "e1"))
    drain(reader, redis)
    # The group forgets that it was read, as a Redis that lost its last second does.
    redis.xgroup_setid(MODEL_EVENTS, GROUP, "0")
    assert reader.run_once(block_ms=1) == 1
    assert marks() == {"e1": 1}
    assert pending(redis) == 0


def test_calls_come_after_the_commit_and_may_fail(company: str, redis: Redis) -> None:
    seen: list[Counter[str]] = []

    def effect(session: Session, stream: str, envelope: Envelope) -> AfterCommit:
        mark(session, stream, envelope)

        def call() -> None:
            seen.append(marks())
            raise RuntimeError("the broker is away")

        return call

    reader = consumer(redis, effect)
    for name in ("e1", "e2"):
        add(redis, event(company, name))
    reader.run_once()
    assert seen == [Counter({"e1": 1, "e2": 1})] * 2
    assert pending(redis) == 0


POISON: dict[str, dict[Any, Any]] = {
    "invalid JSON": {"event_id": "p1", "type": MODEL_EVENT, "company_id": "c", "data": "{"},
    "missing field": {"type": MODEL_EVENT, "company_id": "c", "data": "{}"},
    "no text": {b"event": b"\xff\xfe\x00"},
    "NUL": {"event_id": "p2", "type": MODEL_EVENT, "data": '{"event":"\\u0000"}'},
    "deep": {"event_id": "p3", "type": MODEL_EVENT, "data": "[" * 50_000 + "]" * 50_000},
    "unknown type": {"event_id": "p4", "type": "x.y", "data": "{}"},
    "unknown version": {
        "event_id": "p5",
        "type": MODEL_EVENT,
        "version": "9",
        "data": '{"event":"e"}',
    },
}


def test_poison_is_set_aside_and_the_rest_flows(company: str, redis: Redis) -> None:
    reader = consumer(redis)
    for number, entry in enumerate(POISON.values()):
        add(redis, event(company, f"e{number}"))
        add(redis, entry)
    drain(reader, redis)
    assert marks() == Counter({f"e{number}": 1 for number in range(len(POISON))})
    letters = dead_letters()
    assert len(letters) == len(POISON)
    reasons = " | ".join(letter.reason for letter in letters)
    for expected in ("data: not JSON", "event_id: Field required", "not UTF-8", "NUL", "deeper"):
        assert expected in reasons
    first = letters[0]
    assert (first.kind, first.company_id) == (MODEL_EVENTS, None)
    assert first.payload["fields"] == POISON["invalid JSON"]
    assert first.reference == f"{MODEL_EVENTS}/{first.payload['entry_id']}"
    # Delivered again, as after a death before the acknowledgement: no second letter.
    redis.xgroup_setid(MODEL_EVENTS, GROUP, "0")
    drain(reader, redis)
    assert len(dead_letters()) == len(POISON)


def test_a_refused_event_is_set_aside_and_undone(company: str, redis: Redis) -> None:
    def effect(session: Session, stream: str, envelope: Envelope) -> None:
        mark(session, stream, envelope)
        if envelope.event_id == "e2":
            session.flush()
            raise EventRefused("company_id: there is no such company")

    reader = consumer(redis, effect)
    for name in ("e1", "e2", "e3", "e2"):
        add(redis, event(company, name))
    reader.run_once()
    assert pending(redis) == 0
    assert marks() == {"e1": 1, "e3": 1}
    assert outcomes() == {"e1": "applied", "e2": "refused", "e3": "applied"}
    [letter] = dead_letters()
    assert (letter.reference, letter.company_id) == ("e2", company)
    assert letter.reason == "company_id: there is no such company"


def test_an_event_of_an_unknown_company_can_be_set_aside(redis: Redis) -> None:
    def refuse(_session: Session, _stream: str, _envelope: Envelope) -> None:
        raise EventRefused("unknown \x00 company")

    reader = consumer(redis, refuse)
    add(redis, event("nobody", "e1"))
    reader.run_once()
    [letter] = dead_letters()
    assert (letter.company_id, letter.reason) == (None, "unknown \\x00 company")
    assert pending(redis) == 0


def test_an_effect_that_fails_five_times_is_set_aside(company: str, redis: Redis) -> None:
    tries: Counter[str] = Counter()

    def effect(session: Session, stream: str, envelope: Envelope) -> None:
        mark(session, stream, envelope)
        tries[envelope.event_id] += 1
        if envelope.event_id == "bad":
            raise RuntimeError(f"try {tries['bad']}")

    reader = consumer(redis, effect)
    for name in ("e1", "bad", "e2"):
        add(redis, event(company, name))
    reader.run_once()
    assert (pending(redis), marks()) == (1, {"e1": 1, "e2": 1})
    assert dead_letters() == []
    drain(reader, redis)
    assert marks() == {"e1": 1, "e2": 1}
    assert outcomes()["bad"] == "gave_up"
    [letter] = dead_letters()
    assert (letter.reference, letter.company_id) == ("bad", company)
    assert letter.reason.startswith("RuntimeError: try ")
    assert [item["delivery"] for item in letter.history] == list(range(1, MAX_TRIES + 1))


def test_an_effect_that_fails_twice_happens_once(company: str, redis: Redis) -> None:
    deliveries = []

    def effect(session: Session, stream: str, envelope: Envelope) -> None:
        mark(session, stream, envelope)
        rows: Any = redis.xpending_range(MODEL_EVENTS, GROUP, "-", "+", 10)
        deliveries.append(rows[0]["times_delivered"])
        if deliveries[-1] < 3:
            raise TimeoutError("busy")

    reader = consumer(redis, effect)
    add(redis, event(company, "e1"))
    drain(reader, redis)
    # Twice for each failure: with its batch, then alone to see whose failure it was.
    assert deliveries == [1, 1, 2, 2, 3]
    assert (marks(), dead_letters()) == ({"e1": 1}, [])


def test_retries_wait_longer_each_time(company: str, redis: Redis) -> None:
    def fail(_session: Session, _stream: str, _envelope: Envelope) -> None:
        raise TimeoutError("busy")

    reader = Consumer(redis, (MODEL_EVENTS,), "bridge-1", fail, threading.Event(), retry_seconds=30)
    reader.run_once(1)
    add(redis, event(company, "e1"))
    assert [reader.run_once(1) for _ in range(5)] == [1, 0, 0, 0, 0]


def test_the_pending_of_a_dead_consumer_are_taken_over(company: str, redis: Redis) -> None:
    living = consumer(redis, name="living", claim_idle_seconds=0.2)
    for number in range(250):
        add(redis, event(company, f"e{number}"))
    redis.xreadgroup(GROUP, "dead", {MODEL_EVENTS: ">"}, count=250)
    assert living.run_once(block_ms=1) == 0
    drain(living, redis)
    assert marks() == Counter({f"e{number}": 1 for number in range(250)})


def test_one_that_kills_its_process_ends_up_alone_and_aside(company: str, redis: Redis) -> None:
    reader = consumer(redis, name="living", claim_idle_seconds=0.1)
    ids = [add(redis, event(company, f"e{n}")) for n in range(4)]
    redis.xreadgroup(GROUP, "dead", {MODEL_EVENTS: ">"})
    # Read so often, and never once was there word of it.
    for entry_id, deliveries in zip(ids, (1, 5, 10, 5), strict=True):
        redis.xclaim(MODEL_EVENTS, GROUP, "dead", 0, [entry_id], retrycount=deliveries)
    handled = []
    while pending(redis):
        handled.append(reader.run_once(block_ms=20))
    assert [count for count in handled if count] == [1, 1, 1, 1]
    assert marks() == {"e0": 1, "e1": 1, "e3": 1}
    [letter] = dead_letters()
    assert letter.reference == "e2"
    assert letter.reason.startswith("delivered 11 times")


def test_an_entry_deleted_while_pending_blocks_nothing(company: str, redis: Redis) -> None:
    reader = consumer(redis)
    lost, _ = [add(redis, event(company, f"e{n}")) for n in range(2)]
    redis.xreadgroup(GROUP, "bridge-1", {MODEL_EVENTS: ">"})
    redis.xdel(MODEL_EVENTS, lost)
    drain(reader, redis)
    assert marks() == {"e1": 1}


def test_the_original_form_has_the_same_effect(company: str, redis: Redis) -> None:
    seen: dict[str, Any] = {}

    def effect(session: Session, stream: str, envelope: Envelope) -> None:
        mark(session, stream, envelope)
        seen[stream] = envelope.payload

    reader = consumer(redis, effect, CHANNELS)
    request = {"request_id": "r1", "company_id": company, "training_data": '[{"input": 1}]'}
    for _ in range(2):
        add(redis, request, LORA_TRAINING_REQUESTS)
    redis.xadd(LORA_ADAPTER_REQUESTS, {"request_id": "r1", "company_id": company})
    redis.xadd(LORA_ADAPTER_READY, {"adapter_id": "a1", "company_id": company})
    redis.xadd(MODEL_EVENTS, {"event": "lora-adapter-ready", "adapter_id": "a1"})
    while reader.run_once(block_ms=20):
        pass
    assert marks() == {"r1": 1, "r1:load": 1, "a1:ready": 1, "a1:lora-adapter-ready": 1}
    assert isinstance(seen[LORA_TRAINING_REQUESTS], TrainingRequested)
    assert seen[LORA_TRAINING_REQUESTS].training_data == [{"input": 1}]
    assert isinstance(seen[MODEL_EVENTS], ModelEvent)


def test_a_client_that_decodes_is_refused(redis_url: str) -> None:
    decoding = Redis.from_url(redis_url, decode_responses=True)
    with pytest.raises(ValueError, match=r"synapse\.streams\.connect"):
        Consumer(decoding, (MODEL_EVENTS,), "bridge-1", mark, threading.Event())
