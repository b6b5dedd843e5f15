"""Consumers that are gone are forgotten, but for what they owe."""

from __future__ import annotations

import threading
import time
from typing import Any

from redis import Redis

from settings import get_settings
from synapse import relay
from synapse.departed import forget_departed
from synapse.relay import Relay
from synapse.streams import CONSUMED, GROUP, LORA_ADAPTER_READY, LORA_TRAINING_REQUESTS


def names(redis: Redis, stream: str = LORA_TRAINING_REQUESTS) -> set[str]:
    found: Any = redis.xinfo_consumers(stream, GROUP)
    return {row["name"].decode() for row in found}


def read(redis: Redis, consumer: str, count: int = 1) -> list[bytes]:
    answer: Any = redis.xreadgroup(GROUP, consumer, {LORA_TRAINING_REQUESTS: ">"}, count=count)
    return [entry_id for _, entries in answer for entry_id, _ in entries]


def make_group(redis: Redis, entries: int = 0) -> None:
    redis.xgroup_create(LORA_TRAINING_REQUESTS, GROUP, id="0", mkstream=True)
    for number in range(entries):
        redis.xadd(LORA_TRAINING_REQUESTS, {"n": number})


def test_who_is_gone_and_owes_nothing_is_forgotten(redis: Redis) -> None:
    make_group(redis, 3)
    ids = [read(redis, name)[0] for name in ("settled", "in debt", "here")]
    redis.xack(LORA_TRAINING_REQUESTS, GROUP, ids[0], ids[2])
    time.sleep(0.3)
    read(redis, "here")  # it asks, and there is nothing
    assert forget_departed(redis, gone_seconds=0.2) == 1
    assert names(redis) == {"in debt", "here"}
    pending: Any = redis.xpending(LORA_TRAINING_REQUESTS, GROUP)
    assert (pending["pending"], pending["min"]) == (1, ids[1]), "what it owes is still there"


def test_nobody_is_gone_so_soon(redis: Redis) -> None:
    make_group(redis, 1)
    redis.xack(LORA_TRAINING_REQUESTS, GROUP, read(redis, "a")[0])
    assert forget_departed(redis) == 0
    assert names(redis) == {"a"}


def test_streams_and_groups_that_are_not_there(redis: Redis) -> None:
    redis.xadd(LORA_ADAPTER_READY, {"n": 1})  # a stream without our group
    assert forget_departed(redis) == 0
    assert redis.keys() == [LORA_ADAPTER_READY.encode()]


def test_the_relay_sees_to_it_and_to_the_streams_length(redis: Redis, monkeypatch: Any) -> None:
    make_group(redis, 1000)
    monkeypatch.setenv("STREAM_DAYS", "0.0000001")
    get_settings.cache_clear()
    monkeypatch.setattr("synapse.departed.forget_departed.__defaults__", (CONSUMED, 0.0))
    ids = read(redis, "a", 1000)
    redis.xack(LORA_TRAINING_REQUESTS, GROUP, *ids)
    time.sleep(1.1)  # the age is taken in whole seconds
    stop = threading.Event()
    thread = threading.Thread(target=Relay(redis, stop).run)
    thread.start()
    time.sleep(0.5)
    stop.set()
    thread.join(10)
    monkeypatch.undo()
    get_settings.cache_clear()
    assert redis.xlen(LORA_TRAINING_REQUESTS) < 200
    assert names(redis) == set()
    assert relay.TRIM_SECONDS <= 60
