"""This process's client of the broker, and probes of the broker."""

from __future__ import annotations

from functools import lru_cache

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from settings import get_settings
from tasks.broker.pulse import Pulse

PING_TIMEOUT_SECONDS = 1.0
PROBE_KEY = "cyrex:probe"
PROBE_SECONDS = 10


@lru_cache(maxsize=1)
def broker() -> redis.Redis:
    """A client for short calls: pings, wake-ups, hints."""
    return redis.Redis.from_url(
        get_settings().redis_url,
        socket_timeout=PING_TIMEOUT_SECONDS,
        socket_connect_timeout=PING_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def broker_ready() -> bool:
    try:
        return bool(broker().ping())
    except redis.RedisError:
        return False


_pulse = Pulse(lambda: broker())


def broker_alive() -> bool:
    """True if the broker answers, or did a moment ago and has not gone since. Nearly free."""
    return _pulse.beats()


def broker_writable() -> bool:
    """True if the broker takes a write: one that is full or read-only answers a ping."""
    try:
        return bool(broker().set(PROBE_KEY, "1", ex=PROBE_SECONDS))
    except redis.RedisError:
        return False
