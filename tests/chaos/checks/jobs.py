"""What became of jobs, and of the calls of tools that they made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.chaos.checks.sources import DOUBLED, LOST, Finding, Sources
from tests.chaos.ledger import Asked
from tests.chaos.plan import IDEMPOTENT, ONCE
from tests.chaos.rows import Rows
from tests.chaos.tools import Arrival

# How a job may fail that nothing happened to: the small model wrote a call that is none.
OF_THE_MODEL = ("call_cut_off", "steps_exceeded", "tokens_exceeded")

JOBS = """
    SELECT job_id, metadata->>'marker', status, output_data IS NULL, error->>'code'
    FROM company_automation_jobs
"""
ENDS = """
    SELECT envelope->'data'->>'job_id' FROM outbox WHERE stream = 'company_automation_jobs'
      AND envelope->'data'->>'status' IN ('completed', 'failed', 'cancelled')
"""


REPLAYS = "SELECT reference FROM dead_letters WHERE kind = 'job' AND replayed_at IS NOT NULL"


def jobs(sources: Sources) -> Iterator[Finding]:
    """A completed job has one answer, one announcement of it, one memory and one bill.

    One that an operator had go on after it was set aside has ended before.
    """
    kinds = {asked.marker: asked for asked in sources.asked}
    rows = sources.rows
    steps = _counted(rows, "SELECT job_id FROM job_steps")
    answered = _counted(rows, "SELECT job_id FROM job_steps WHERE kind = 'answer'")
    billed = _counted(rows, "SELECT split_part(reference, ':', 1) FROM usage WHERE kind = 'job'")
    remembered = _counted(rows, "SELECT job_id FROM company_memory WHERE job_id IS NOT NULL")
    ends, replays = _counted(rows, ENDS), _counted(rows, REPLAYS)
    for job_id, marker, status, bare, code in rows.all(JOBS):
        asked = kinds.get(marker)
        name = f"job {job_id} ({asked.kind if asked else 'unasked'} {marker})"
        if asked is None:
            yield DOUBLED, f"{name}: nobody asked for it"
            continue
        answers, bills, memories = answered[job_id], billed[job_id], remembered[job_id]
        if status == "completed" and (bare or not answers or not memories or not bills):
            yield LOST, f"{name}: completed, without its answer, memory or bill"
        lives = 1 + replays[job_id]
        if answers > 1 or memories > 1 or bills > steps[job_id] or ends[job_id] > lives:
            found = f"{answers} answers, {memories} memories, {bills} bills, {ends[job_id]} ends"
            yield DOUBLED, f"{name}: {found} in {lives} lives"
        if status in ("completed", "failed", "cancelled") and not ends[job_id]:
            yield LOST, f"{name}: its end was not announced"
        yield from _outcome(name, asked, status, code, answers)


def _counted(rows: Rows, query: str) -> Counter[str]:
    """How often each job is named."""
    return Counter(str(job_id) for (job_id,) in rows.all(query))


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
