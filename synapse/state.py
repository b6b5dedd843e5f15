"""The state of the streams: how long they are, and how far behind their readers."""

from __future__ import annotations

from typing import Any

from redis import Redis

from database.base import Json
from synapse.streams import CHANNELS
from synapse.trim import parse_id


def state_of(redis: Redis, streams: tuple[str, ...] = CHANNELS) -> list[Json]:
    """Length, and lag and pending entries of each group. Raises redis's errors."""
    seconds, _ = redis.time()
    return [_stream(redis, name, float(seconds)) for name in streams]


def _stream(redis: Redis, name: str, now: float) -> Json:
    if not redis.exists(name):
        return {"name": name, "length": 0, "groups": []}
    groups: Any = redis.xinfo_groups(name)
    return {
        "name": name,
        "length": redis.xlen(name),
        "groups": [_group(redis, name, group, now) for group in groups],
    }


def _group(redis: Redis, stream: str, group: dict[str, Any], now: float) -> Json:
    pending: Any = redis.xpending(stream, group["name"])
    oldest = pending["min"]
    return {
        "name": group["name"].decode(errors="replace"),
        "consumers": group["consumers"],
        "pending": group["pending"],
        # None: an entry was deleted by hand, and Redis does not count what is left.
        "lag": group.get("lag"),
        "oldest_pending_seconds": _since(oldest, now) if oldest else None,
    }


def _since(entry_id: bytes, now: float) -> float:
    """An entry's id begins with the milliseconds of its arrival."""
    return round(max(0.0, now - parse_id(entry_id)[0] / 1000), 3)
