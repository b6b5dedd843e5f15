"""What was asked for is there: once, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tests.chaos.checks.sources import DOUBLED, LOST, Finding, Sources, beyond_promise
from tests.chaos.ledger import Asked

JOB_KINDS = ("job", "job_twice", "event", "tool_once", "tool_idempotent", "cancelled")


def requests(sources: Sources) -> Iterator[Finding]:
    """What was asked for once is there once, however often it was sent."""
    beyond = beyond_promise(sources)
    marked: Counter[str] = Counter()
    for marker, job_id in sources.rows.all(
        "SELECT metadata->>'marker', job_id FROM company_automation_jobs"
    ):
        marked[marker or job_id] += 1
    runs = Counter(str(row[0]) for row in sources.rows.all("SELECT request_id FROM training_runs"))
    inbox = {str(row[0]) for row in sources.rows.all("SELECT event_id FROM inbox")}
    for asked in _once_each(sources.asked):
        if asked.marker in beyond:
            continue
        if asked.kind in JOB_KINDS:
            count = marked[asked.marker]
        elif asked.kind in ("training", "training_cancelled", "training_event"):
            count = runs[asked.reference]
        elif asked.kind == "adapter_request":
            count = int(asked.marker in inbox)
        elif asked.kind == "conversation":
            count = int(asked.answer != "silence")
        else:
            continue
        if count == 0:
            yield LOST, f"{asked.kind} {asked.marker}: accepted, and nowhere (or not a word)"
        if count > 1:
            yield DOUBLED, f"{asked.kind} {asked.marker}: {count} rows"
    yield from _unasked(sources)
    yield from _poison(sources, beyond)


def _once_each(asked: Iterable[Asked]) -> list[Asked]:
    """The last entry of each marker."""
    return list({each.marker: each for each in asked}.values())


def _unasked(sources: Sources) -> Iterator[Finding]:
    """A request that was sent under one key has one id; nobody else's work is there."""
    ids: dict[str, set[str]] = {}
    for asked in sources.asked:
        ids.setdefault(asked.marker, set()).add(asked.reference)
    for marker, references in ids.items():
        if len(references) > 1:
            yield DOUBLED, f"{marker}: answered with {len(references)} ids"
    known = {asked.reference for asked in sources.asked}
    for (request_id,) in sources.rows.all("SELECT request_id FROM training_runs"):
        if request_id not in known:
            yield DOUBLED, f"training {request_id}: nobody asked for it"


def _poison(sources: Sources, beyond: set[str]) -> Iterator[Finding]:
    """Every event without an effect is set aside: once, if its id can be read."""
    aside = sources.rows.all("SELECT reference, payload::text FROM dead_letters")
    for asked in _once_each(sources.asked):
        if asked.kind != "poison" or asked.marker in beyond:
            continue
        count = sum(asked.marker in (ref, *_texts(payload)) for ref, payload in aside)
        if count == 0 and not (asked.copies == 1 and asked.at <= max(sources.flushes, default=0)):
            yield LOST, f"poison {asked.marker}: not set aside"
        if count > max(1, asked.copies if asked.copies < 3 else 1):
            yield DOUBLED, f"poison {asked.marker}: set aside {count} times"


def _texts(payload: str) -> list[str]:
    return payload.split('"')
