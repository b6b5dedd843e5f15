"""What the checks read, and what a finding is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.chaos.ledger import Asked
from tests.chaos.rows import Rows
from tests.chaos.tools import Arrival

Finding = tuple[str, str]
LOST, DOUBLED, ORPHANS, STUCK = "lost", "doubled", "orphans", "stuck"
OUTSIDE = ("event", "training_event", "adapter_request", "poison")


@dataclass(frozen=True)
class Sources:
    """Where the audit looks. `versions`: (company, version, package's SHA-256) of the registry."""

    rows: Rows
    streams: redis.Redis
    asked: Sequence[Asked]
    arrivals: Sequence[Arrival]
    versions: Sequence[tuple[str, int, str]]
    blobs: Path
    work: Path
    flushes: Sequence[float] = ()


def beyond_promise(sources: Sources) -> set[str]:
    """Markers of outside events that were on a stream, and in no inbox, when Redis forgot all."""
    seen = {str(row[0]) for row in sources.rows.all("SELECT event_id FROM inbox")}
    last = max(sources.flushes, default=0.0)
    return {
        asked.marker
        for asked in sources.asked
        if asked.kind in OUTSIDE and asked.at <= last and asked.marker not in seen
    }
