"""Trimming streams by age, but never what a group has yet to read or to acknowledge."""

from __future__ import annotations

from typing import Any

from redis import Redis

from settings import get_settings
from synapse.streams import CHANNELS, CONSUMED, GROUP

SECONDS_PER_DAY = 24 * 3600.0

EntryId = tuple[int, int]


def keep_seconds() -> float:
    """How long an entry stays in its stream at least."""
    return get_settings().stream_days * SECONDS_PER_DAY


def parse_id(raw: bytes | str) -> EntryId:
    """`b"1700000000000-3"` as numbers that compare like the server's."""
    text = raw.decode() if isinstance(raw, bytes) else raw
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number or 0)


def trim(redis: Redis, streams: tuple[str, ...] = CHANNELS, keep: float | None = None) -> int:
    """Delete entries older than `keep` seconds (default: STREAM_DAYS); returns how many.

    Raises redis's errors.

    Whole nodes of a stream go at a time (`~`), so younger ones are never touched and some older
    ones stay. What is asked and what is trimmed need not be one step: a group's oldest pending
    entry and its last delivered one only move towards younger entries.
    """
    seconds, _ = redis.time()
    cut = (int((seconds - (keep_seconds() if keep is None else keep)) * 1000), 0)
    deleted = 0
    for stream in streams:
        floor = _floor(redis, stream)
        if floor is not None:
            oldest = min(cut, floor) if floor else cut
            minid = f"{oldest[0]}-{oldest[1]}"
            deleted += int(redis.xtrim(stream, minid=minid, approximate=True))
    return deleted


def _floor(redis: Redis, stream: str) -> EntryId | tuple[()] | None:
    """The oldest entry that a group still needs: none (an empty tuple), or the stream is to be
    left alone (None) because it is not there or its reader has never come."""
    if not redis.exists(stream):
        return None
    groups: Any = redis.xinfo_groups(stream)
    names = {group["name"] for group in groups}
    if stream in CONSUMED and GROUP.encode() not in names:
        return None
    needed = [_oldest_needed(redis, stream, group) for group in groups]
    return min(needed, default=())


def _oldest_needed(redis: Redis, stream: str, group: dict[str, Any]) -> EntryId:
    pending: Any = redis.xpending(stream, group["name"])
    delivered = parse_id(group["last-delivered-id"])
    return min(parse_id(pending["min"]), delivered) if pending["min"] else delivered
