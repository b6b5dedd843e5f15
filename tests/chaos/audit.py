"""Decides what was lost, done twice, left without an owner, or left standing.

Reads Postgres, the registry, the blob store, the streams and the tool server's own log, and holds
them against the ledger of what was asked for. It asks the product nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.chaos import files
from tests.chaos.ledger import Asked
from tests.chaos.plan import IDEMPOTENT, ONCE
from tests.chaos.rows import TABLES, Rows
from tests.chaos.tools import Arrival

Finding = tuple[str, str]
LOST, DOUBLED, ORPHANS, STUCK = "lost", "doubled", "orphans", "stuck"
CONSUMED = (
    "lora_training_requests",
    "lora_adapter_ready",
    "lora_adapter_requests",
    "company_automation_jobs",
)
GROUP = "cyrex"
QUEUES = ("inference", "training", "bridge", "tools")
PRIORITIES = ("", "\x06\x163", "\x06\x165")
OUTSIDE = ("event", "training_event", "adapter_request", "poison")
JOB_KINDS = ("job", "job_twice", "event", "tool_once", "tool_idempotent", "cancelled")
# How a job may fail that nothing happened to: the small model wrote a call that is none.
OF_THE_MODEL = ("call_cut_off", "steps_exceeded", "tokens_exceeded")


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


@dataclass
class Report:
    """Findings by kind, a sentence each.

    Beside them, what no promise covers. `beyond`: outside events that Redis forgot. `unbilled`:
    conversations that were answered by a worker which died before it wrote what they used.
    """

    found: dict[str, list[str]] = field(
        default_factory=lambda: {kind: [] for kind in (LOST, DOUBLED, ORPHANS, STUCK)}
    )
    beyond: int = 0
    unbilled: int = 0

    @property
    def clean(self) -> bool:
        return not any(self.found.values())

    def counts(self) -> dict[str, int]:
        return {kind: len(sentences) for kind, sentences in self.found.items()}


def audit(sources: Sources) -> Report:
    """Everything at rest: look at all of it."""
    report = Report()
    report.beyond = len(_beyond(sources))
    report.unbilled = _unbilled(sources)
    for check in (requests, jobs, calls, trainings, adapters, delivery, bytes_, at_rest):
        for kind, sentence in check(sources):
            report.found[kind].append(sentence)
    return report


def _beyond(sources: Sources) -> set[str]:
    """Markers of outside events that were on a stream, and in no inbox, when Redis forgot all."""
    seen = {str(row[0]) for row in sources.rows.all("SELECT event_id FROM inbox")}
    last = max(sources.flushes, default=0.0)
    return {
        asked.marker
        for asked in sources.asked
        if asked.kind in OUTSIDE and asked.at <= last and asked.marker not in seen
    }


def _unbilled(sources: Sources) -> int:
    query = "SELECT reference FROM usage WHERE kind = 'conversation'"
    billed = {f"chatcmpl-{reference}" for (reference,) in sources.rows.all(query)}
    answered = [a for a in sources.asked if a.kind == "conversation" and a.answer != "silence"]
    return sum(asked.reference not in billed for asked in answered)


def requests(sources: Sources) -> Iterator[Finding]:
    """What was asked for once is there once, however often it was sent."""
    beyond = _beyond(sources)
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


def jobs(sources: Sources) -> Iterator[Finding]:
    """A completed job has one answer, one announcement of it, one memory and one bill."""
    kinds = {asked.marker: asked for asked in sources.asked}
    query = """
        SELECT job_id, metadata->>'marker', status, output_data IS NULL, error->>'code',
          (SELECT count(*) FROM job_steps s WHERE s.job_id = j.job_id AND kind = 'answer'),
          (SELECT count(*) FROM job_steps s WHERE s.job_id = j.job_id),
          (SELECT count(*) FROM usage u WHERE u.kind = 'job'
             AND split_part(u.reference, ':', 1) = j.job_id),
          (SELECT count(*) FROM company_memory m WHERE m.job_id = j.job_id)
        FROM company_automation_jobs j
    """
    ends = Counter(
        str(row[0])
        for row in sources.rows.all(
            "SELECT envelope->'data'->>'job_id' FROM outbox WHERE stream = %s"
            " AND envelope->'data'->>'status' IN ('completed', 'failed', 'cancelled')",
            "company_automation_jobs",
        )
    )
    for job_id, marker, status, bare, code, answers, steps, bills, memories in sources.rows.all(
        query
    ):
        asked = kinds.get(marker)
        name = f"job {job_id} ({asked.kind if asked else 'unasked'} {marker})"
        if asked is None:
            yield DOUBLED, f"{name}: nobody asked for it"
            continue
        if status == "completed" and (bare or not answers or not memories or not bills):
            yield LOST, f"{name}: completed, without its answer, memory or bill"
        if answers > 1 or memories > 1 or bills > steps or ends[job_id] > 1:
            yield DOUBLED, f"{name}: {answers} answers, {memories} memories, {bills} bills"
        if status in ("completed", "failed", "cancelled") and not ends[job_id]:
            yield LOST, f"{name}: its end was not announced"
        yield from _outcome(name, asked, status, code, answers)


def _outcome(
    name: str, asked: Asked, status: str, code: str | None, answers: int
) -> Iterator[Finding]:
    of_model = asked.kind.startswith("tool") and code in OF_THE_MODEL
    if status == "failed" and not of_model:
        yield LOST, f"{name}: failed ({code})"
    if status == "cancelled" and asked.kind != "cancelled":
        yield LOST, f"{name}: cancelled, and nobody asked for that"
    if asked.answer == "cancelled" and (status != "cancelled" or answers):
        yield DOUBLED, f"{name}: cancelled, and yet {status} with {answers} answers"


def calls(sources: Sources) -> Iterator[Finding]:
    """The tool server's log against the rows: at most once, or always under one key."""
    arrivals: dict[tuple[str, str], list[Arrival]] = {}
    for arrival in sources.arrivals:
        arrivals.setdefault((arrival.company, arrival.order), []).append(arrival)
    rows: dict[tuple[str, str], list[Any]] = {}
    for company, call_id, order, status, sent in sources.rows.all(
        "SELECT company_id, call_id, arguments->>'order_id', status, sent_at IS NOT NULL"
        " FROM tool_calls"
    ):
        rows.setdefault((company, str(order)), []).append((call_id, status, sent))
    for place in arrivals.keys() | rows.keys():
        seen, made = arrivals.get(place, []), rows.get(place, [])
        yield from _calls_of(place, seen, made)


def _calls_of(
    place: tuple[str, str], seen: list[Arrival], made: list[tuple[str, str, bool]]
) -> Iterator[Finding]:
    company, order = place
    completed = sum(status == "completed" for _id, status, _sent in made)
    if company == ONCE:
        sent = sum(was_sent for _id, _status, was_sent in made)
        if len(seen) > sent:
            yield DOUBLED, f"order {order}: the tool was called {len(seen)} times, sent {sent}"
        if completed > len(seen):
            yield LOST, f"order {order}: {completed} calls completed, {len(seen)} arrived"
    if company == IDEMPOTENT:
        keys = {arrival.key for arrival in seen}
        known = {call_id for call_id, _status, _sent in made}
        if None in keys or not keys <= known:
            yield DOUBLED, f"order {order}: called under keys {keys - known} of no call"
        for call_id, status, _sent in made:
            if status == "completed" and call_id not in keys:
                yield LOST, f"order {order}: call {call_id} completed and never arrived"
            if status == "unknown":
                yield LOST, f"order {order}: call {call_id} may be repeated, and was given up"


def trainings(sources: Sources) -> Iterator[Finding]:
    """A run ends as asked, with one adapter, one announcement and one bill, or with none."""
    kinds = {asked.reference: asked for asked in sources.asked}
    query = """
        SELECT r.request_id, r.status, r.error->>'code',
          (SELECT count(*) FROM lora_adapters a WHERE a.request_id = r.request_id),
          (SELECT count(*) FROM usage u WHERE u.kind = 'training'
             AND split_part(u.reference, ':', 1) = r.request_id),
          (SELECT count(*) FROM training_events e
             WHERE e.request_id = r.request_id AND e.type = 'succeeded')
        FROM training_runs r
    """
    for request_id, status, code, made, bills, ends in sources.rows.all(query):
        asked = kinds.get(request_id)
        name = f"training {request_id} ({asked.kind if asked else 'unasked'})"
        if status == "failed" or (
            status == "cancelled" and (asked is None or asked.kind != "training_cancelled")
        ):
            yield LOST, f"{name}: {status} ({code})"
        if status == "succeeded" and not (made and bills and ends):
            yield LOST, f"{name}: {made} adapters, {bills} bills, {ends} announcements"
        if made > 1 or bills > 1 or ends > 1:
            yield DOUBLED, f"{name}: {made} adapters, {bills} bills, {ends} announcements"


def adapters(sources: Sources) -> Iterator[Finding]:
    """Rows and registry name each other, byte for byte; each adapter was decided on once."""
    registry = {(company, version): sha256 for company, version, sha256 in sources.versions}
    query = """
        SELECT company_id, version, sha256, adapter_id, status, registry_path IS NOT NULL,
          (SELECT count(*) FROM decisions d WHERE d.adapter_id = a.adapter_id)
        FROM lora_adapters a
    """
    known = set()
    for company, version, sha256, adapter_id, status, registered, decided in sources.rows.all(
        query
    ):
        name = f"adapter {adapter_id} ({company} {version})"
        known.add((company, version))
        if registered and registry.get((company, version)) != sha256:
            yield LOST, f"{name}: the registry has other bytes, or none"
        if status == "failed":
            yield LOST, f"{name}: failed"
        if status in ("ready", "rejected") and not decided:
            yield LOST, f"{name}: {status}, and no decision is written"
        if decided > 1:
            yield DOUBLED, f"{name}: decided {decided} times"
    for place in sorted(registry.keys() - known):
        yield ORPHANS, f"registry: {place[0]} version {place[1]} has no adapter"


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
        for group in _groups(sources.streams, stream):
            waiting = int(group["pending"]) + int(group.get("lag") or 0)
            if group["name"] == GROUP.encode() and waiting:
                yield STUCK, f"stream {stream}: {waiting} entries pending or unread"
    for queue in QUEUES:
        length = sum(int(sources.streams.llen(queue + mark)) for mark in PRIORITIES)
        if length:
            yield STUCK, f"queue {queue}: {length} messages that nobody takes"


def _groups(streams: redis.Redis, stream: str) -> list[Any]:
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
