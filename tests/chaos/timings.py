"""How long the stack took to go on, from the events of its own outbox."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tests.chaos.disturbance import Record
from tests.chaos.rows import Rows

# Each claim of a job announces that it runs.
CLAIMS = """
    SELECT envelope->'data'->>'job_id', extract(epoch FROM created_at)::float FROM outbox
    WHERE stream = 'company_automation_jobs' AND envelope->'data'->>'status' = 'running'
    ORDER BY 2
"""
HISTORIES = "SELECT job_id, history FROM company_automation_jobs WHERE history <> '[]'"


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def reruns(
    rows: Rows, deaths: dict[str, float], away: Sequence[tuple[float, float]] = ()
) -> list[float]:
    """Of each job whose worker died: seconds from the death until the job ran again.

    Those that met one of the spans in `away`, when Redis stood still, are left out.
    """
    claims: dict[str, list[float]] = {}
    for job_id, at in rows.all(CLAIMS):
        claims.setdefault(job_id, []).append(at)
    found = []
    for job_id, history in rows.all(HISTORIES):
        for died in _deaths_of(history, deaths):
            again = next((at for at in claims.get(job_id, ()) if at > died), None)
            if again is not None and not any(died < end and begin < again for begin, end in away):
                found.append(again - died)
    return found


def _deaths_of(history: list[dict[str, Any]], deaths: dict[str, float]) -> list[float]:
    return [deaths[entry["owner"]] for entry in history if entry.get("owner") in deaths]


def figures(rows: Rows, record: Record) -> dict[str, float | None]:
    return {
        "rerun_p95_s": _rounded(percentile(reruns(rows, record.deaths, record.stops), 0.95)),
        "redis_back_s": _rounded(max(record.redis_back, default=None)),
        "flush_reissue_s": _rounded(max(record.reissues, default=None)),
        "stop_back_s": _rounded(max(record.stop_back, default=None)),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
