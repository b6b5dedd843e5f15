"""Trimming takes what is old and read, and nothing else."""

from __future__ import annotations

from typing import Any

from redis import Redis

from synapse.streams import GROUP, LORA_TRAINING_REQUESTS, MODEL_EVENTS
from synapse.trim import parse_id, trim

COUNT = 1000
# A stream loses whole nodes: so many entries may stay that could have gone.
NODE = 128


def fill(redis: Redis, stream: str) -> list[bytes]:
    pipe = redis.pipeline()
    for number in range(COUNT):
        pipe.xadd(stream, {"n": number})
    return list(pipe.execute())


def read(redis: Redis, stream: str, group: str, count: int) -> list[bytes]:
    answer: Any = redis.xreadgroup(group, "reader", {stream: ">"}, count=count)
    return [entry_id for entry_id, _ in answer[0][1]]


def first(redis: Redis, stream: str) -> bytes:
    entries: Any = redis.xrange(stream, count=1)
    return bytes(entries[0][0])


def test_never_past_the_oldest_pending(redis: Redis) -> None:
    ids = fill(redis, LORA_TRAINING_REQUESTS)
    redis.xgroup_create(LORA_TRAINING_REQUESTS, GROUP, id="0")
    read(redis, LORA_TRAINING_REQUESTS, GROUP, COUNT)
    redis.xack(LORA_TRAINING_REQUESTS, GROUP, *ids[:500], *ids[501:])
    deleted = trim(redis, keep=-1)
    assert 500 - NODE <= deleted <= 500
    assert parse_id(first(redis, LORA_TRAINING_REQUESTS)) <= parse_id(ids[500])
    assert redis.xrange(LORA_TRAINING_REQUESTS, ids[500], ids[500])


def test_never_past_what_a_group_has_not_read(redis: Redis) -> None:
    ids = fill(redis, LORA_TRAINING_REQUESTS)
    redis.xgroup_create(LORA_TRAINING_REQUESTS, GROUP, id="0")
    redis.xgroup_create(LORA_TRAINING_REQUESTS, "slow", id="0")
    redis.xack(LORA_TRAINING_REQUESTS, GROUP, *read(redis, LORA_TRAINING_REQUESTS, GROUP, COUNT))
    redis.xack(LORA_TRAINING_REQUESTS, "slow", *read(redis, LORA_TRAINING_REQUESTS, "slow", 300))
    assert 300 - NODE <= trim(redis, keep=-1) <= 300
    assert read(redis, LORA_TRAINING_REQUESTS, "slow", COUNT) == ids[300:]


def test_young_entries_stay(redis: Redis) -> None:
    fill(redis, LORA_TRAINING_REQUESTS)
    redis.xgroup_create(LORA_TRAINING_REQUESTS, GROUP, id="$")
    assert trim(redis) == 0
    assert redis.xlen(LORA_TRAINING_REQUESTS) == COUNT


def test_a_channel_waits_for_its_reader_and_news_do_not(redis: Redis) -> None:
    fill(redis, LORA_TRAINING_REQUESTS)
    fill(redis, MODEL_EVENTS)
    assert trim(redis, keep=-1) >= COUNT - NODE
    assert redis.xlen(LORA_TRAINING_REQUESTS) == COUNT
    assert redis.xlen(MODEL_EVENTS) <= NODE


def test_streams_that_are_not_there(redis: Redis) -> None:
    assert trim(redis) == 0
    assert redis.keys() == []
