"""How long the streams are, and how far their readers are behind."""

from __future__ import annotations

from redis import Redis

from synapse.state import state_of
from synapse.streams import GROUP, MODEL_EVENTS


def test_length_lag_and_pending_are_told(redis: Redis) -> None:
    redis.xgroup_create(MODEL_EVENTS, GROUP, mkstream=True)
    for _ in range(3):
        redis.xadd(MODEL_EVENTS, {"a": "b"})
    redis.xreadgroup(GROUP, "one", {MODEL_EVENTS: ">"}, count=1)
    (stream,) = state_of(redis, (MODEL_EVENTS,))
    (group,) = stream["groups"]
    assert (stream["name"], stream["length"]) == (MODEL_EVENTS, 3)
    assert (group["name"], group["pending"], group["lag"]) == (GROUP, 1, 2)
    assert group["oldest_pending_seconds"] >= 0


def test_a_stream_that_is_not_there_is_empty(redis: Redis) -> None:
    assert state_of(redis, ("none",)) == [{"name": "none", "length": 0, "groups": []}]
