"""One consumer's part of the group, on the side of Redis: what it reads, retries, takes over."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis, ResponseError

from synapse.streams import GROUP, require_bytes

log = logging.getLogger(__name__)

# A stream's name and an entry's id in it.
Place = tuple[str, str]

BATCH = 100
MAX_TRIES = 5
LONGEST_DOUBLING = 3


@dataclass(frozen=True)
class Entry:
    """`deliveries` counts this one. A dead process's delivery counts, for it may be its cause."""

    stream: str
    entry_id: str
    fields: Mapping[bytes, bytes]
    deliveries: int

    @property
    def place(self) -> Place:
        return self.stream, self.entry_id


@dataclass(frozen=True)
class _Pending:
    stream: str
    entry_id: str
    idle_ms: int
    deliveries: int


class Group:
    """Raises redis's errors; `missing_group` tells those that `create` mends."""

    def __init__(
        self,
        redis: Redis,
        streams: Sequence[str],
        consumer: str,
        claim_idle_seconds: float,
        retry_seconds: float,
    ) -> None:
        require_bytes(redis)
        self._redis = redis
        self._streams = tuple(streams)
        self._consumer = consumer
        self._claim_idle_ms = int(claim_idle_seconds * 1000)
        self._retry_ms = int(retry_seconds * 1000)

    def create(self) -> None:
        """Make the group on every stream, from its first entry: an old one costs an inbox look-up,
        a missed one is lost."""
        for stream in self._streams:
            try:
                self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def read_new(self, block_ms: int) -> list[Entry]:
        """Up to a batch of each stream's entries that nobody has had; waits `block_ms` for one."""
        answer: Any = self._redis.xreadgroup(
            GROUP, self._consumer, dict.fromkeys(self._streams, ">"), count=BATCH, block=block_ms
        )
        pairs = answer.items() if isinstance(answer, dict) else answer
        return [
            Entry(stream.decode(), entry_id.decode(), fields, 1)
            for stream, entries in pairs
            for entry_id, fields in entries
        ]

    def read_own(self) -> list[Entry]:
        """Entries that this consumer had and did not acknowledge, once their pause is over.

        The pause doubles with each delivery.
        """
        found = self._pending(self._retry_ms, self._consumer)
        due = [
            entry
            for entry in found
            if entry.idle_ms >= self._retry_ms << min(entry.deliveries - 1, LONGEST_DOUBLING)
        ]
        return self._claim(due, 0)

    def read_neighbours(self) -> list[Entry]:
        """Entries that a consumer, dead or stuck, has left without a sign for too long."""
        return self._claim(self._pending(self._claim_idle_ms, None), self._claim_idle_ms)

    def ack(self, entries: Iterable[Entry]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for stream, ids in _by_stream(entry.place for entry in entries):
            pipe.xack(stream, GROUP, *ids)
        pipe.execute()

    def _pending(self, idle_ms: int, consumer: str | None) -> list[_Pending]:
        pipe = self._redis.pipeline(transaction=False)
        for stream in self._streams:
            pipe.xpending_range(stream, GROUP, "-", "+", BATCH, consumer, idle_ms)
        return [
            _Pending(
                stream,
                row["message_id"].decode(),
                row["time_since_delivered"],
                row["times_delivered"],
            )
            for stream, rows in zip(self._streams, pipe.execute(), strict=True)
            for row in rows
        ]

    def _claim(self, found: list[_Pending], idle_ms: int) -> list[Entry]:
        """Deliver these entries to this consumer once more, which counts.

        One that was delivered too often may be what kills the process: it goes alone, after the
        others, so that its neighbours are not counted with it.
        """
        chosen = [entry for entry in found if entry.deliveries < MAX_TRIES] or found[:1]
        if not chosen:
            return []
        grouped = _by_stream((entry.stream, entry.entry_id) for entry in chosen)
        pipe = self._redis.pipeline(transaction=False)
        for stream, ids in grouped:
            pipe.xclaim(stream, GROUP, self._consumer, idle_ms, ids)
        before = {(entry.stream, entry.entry_id): entry.deliveries for entry in chosen}
        entries = [
            Entry(stream, entry_id.decode(), fields, before[stream, entry_id.decode()] + 1)
            for (stream, _), rows in zip(grouped, pipe.execute(), strict=True)
            for entry_id, fields in rows
        ]
        if len(entries) < len(chosen):
            log.warning(
                "%d pending entries were deleted from their stream, or taken by a neighbour",
                len(chosen) - len(entries),
            )
        return entries


def missing_group(error: ResponseError) -> bool:
    """Whether the stream or its group is gone: a first start, a FLUSHALL, a deleted key."""
    return "NOGROUP" in str(error) or "UNBLOCKED" in str(error)


def _by_stream(places: Iterable[Place]) -> list[tuple[str, list[Any]]]:
    grouped: defaultdict[str, list[Any]] = defaultdict(list)
    for stream, entry_id in places:
        grouped[stream].append(entry_id)
    return list(grouped.items())
