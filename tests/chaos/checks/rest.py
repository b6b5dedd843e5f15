"""Nothing waits, nothing is held, nothing lies about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from tests.chaos import files
from tests.chaos.checks.sources import LOST, ORPHANS, STUCK, Finding, Sources
from tests.chaos.rows import TABLES

CONSUMED = (
    "lora_training_requests",
    "lora_adapter_ready",
    "lora_adapter_requests",
    "company_automation_jobs",
)
GROUP = "cyrex"
QUEUES = ("inference", "training", "bridge", "tools")
PRIORITIES = ("", "\x06\x163", "\x06\x165")


def delivery(sources: Sources) -> Iterator[Finding]:
    """Nothing waits in the outbox, on a stream, in the broker."""
    for stream, event_id, published in sources.rows.all(
        "SELECT stream, event_id, published_at IS NOT NULL FROM outbox o WHERE"
        " published_at IS NULL OR (stream = ANY(%s)"
        " AND NOT EXISTS (SELECT FROM inbox i WHERE i.event_id = o.event_id))",
        list(CONSUMED),
    ):
        what = "published, in no inbox" if published else "not published"
        yield STUCK, f"outbox: {event_id} on {stream}: {what}"
    for stream in CONSUMED:
        for group in groups_of(sources.streams, stream):
            waiting = int(group["pending"]) + int(group.get("lag") or 0)
            if group["name"] == GROUP.encode() and waiting:
                yield STUCK, f"stream {stream}: {waiting} entries pending or unread"
    for queue in QUEUES:
        length = sum(int(sources.streams.llen(queue + mark)) for mark in PRIORITIES)
        if length:
            yield STUCK, f"queue {queue}: {length} messages that nobody takes"


def groups_of(streams: redis.Redis, stream: str) -> list[Any]:
    return list(streams.xinfo_groups(stream)) if streams.exists(stream) else []


def bytes_(sources: Sources) -> Iterator[Finding]:
    """Every blob has a row that names it, and every name its blob; nothing lies about."""
    named = files.named(sources.rows, sources.blobs)
    for sha256, by in sorted(named.items()):
        if not files.path(sources.blobs, sha256).is_file():
            yield LOST, f"blob {sha256}: named by {by}, and not there"
    for sha256 in sorted(files.stored(sources.blobs) - named.keys()):
        yield ORPHANS, f"blob {sha256}: no row names it"
    for path in files.left_over(sources.blobs, sources.work):
        yield ORPHANS, f"file {path}: nobody's"


def at_rest(sources: Sources) -> Iterator[Finding]:
    """Every row has come to its end, and nobody holds one."""
    for kind, row, status in sources.rows.open_rows():
        yield STUCK, f"{kind} {row}: still {status}"
    for kind, (table, key, resting) in TABLES.items():
        query = f"SELECT {key}, lease_owner FROM {table} WHERE lease_owner IS NOT NULL"
        for row, owner in sources.rows.all(query + " AND status = ANY(%s)", list(resting)):
            yield STUCK, f"{kind} {row}: at its end, and held by {owner}"
