"""How long the stack took to go on, from the events of its own outbox."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.chaos.disturbance import Death, Record
from tests.chaos.rows import Rows

# Each claim of a job announces that it runs.
CLAIMS = """
    SELECT envelope->'data'->>'job_id', extract(epoch FROM created_at)::float FROM outbox
    WHERE stream = 'company_automation_jobs' AND envelope->'data'->>'status' = 'running'
    ORDER BY 2
"""
HISTORIES = "SELECT job_id, history FROM company_automation_jobs WHERE history <> '[]'"
# Why a row was freed whose worker, or whose worker's engine, had died.
OF_A_DEATH = ("worker lost", "worker replaced", "EngineDied")


@dataclass(frozen=True)
class Rerun:
    """A job whose worker died at `died`, was freed at `freed`, and ran again at `again`."""

    job_id: str
    reason: str
    died: float
    freed: float
    again: float

    @property
    def seconds(self) -> float:
        return self.again - self.died

    def met(self, spans: Sequence[tuple[float, float]]) -> bool:
        """Whether any of these spans of time overlaps its wait."""
        return any(self.died < end and begin < self.again for begin, end in spans)

    def __str__(self) -> str:
        freed = self.freed - self.died
        return f"{self.job_id} freed after {freed:.1f} s ({self.reason}), ran at {self.seconds:.1f}"


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def reruns(
    rows: Rows, deaths: Sequence[Death], away: Sequence[tuple[float, float]] = ()
) -> list[Rerun]:
    """Of each job whose worker or engine died: from the death until the job ran again.

    Those that met one of the spans in `away`, when Redis stood still, are left out.
    """
    claims: dict[str, list[float]] = {}
    for job_id, at in rows.all(CLAIMS):
        claims.setdefault(job_id, []).append(at)
    found = []
    for job_id, history in rows.all(HISTORIES):
        for reason, died, freed in _losses(history, deaths):
            again = next((at for at in claims.get(job_id, ()) if at > freed), None)
            if again is not None:
                found.append(Rerun(job_id, reason, died, freed, again))
    return [rerun for rerun in found if not rerun.met(away)]


def _losses(
    history: list[dict[str, Any]], deaths: Sequence[Death]
) -> Iterator[tuple[str, float, float]]:
    """(why, when its owner died, when it was freed) for each time that a death freed the row."""
    for entry in history:
        freed = datetime.fromisoformat(entry["at"]).timestamp()
        died = [each.at for each in deaths if each.owner == entry["owner"] and each.at < freed]
        if died and entry["reason"].startswith(OF_A_DEATH):
            yield entry["reason"].partition(":")[0], max(died), freed


def figures(record: Record, found: Sequence[Rerun]) -> dict[str, float | None]:
    served = [rerun for rerun in found if not rerun.met(record.engineless)]
    return {
        "rerun_p95_s": _p95(found),
        "rerun_served_p95_s": _p95(served),
        "redis_back_s": _rounded(max(record.redis_back, default=None)),
        "flush_reissue_s": _rounded(max(record.reissues, default=None)),
        "stop_back_s": _rounded(max(record.stop_back, default=None)),
    }


def _p95(found: Sequence[Rerun]) -> float | None:
    return _rounded(percentile([rerun.seconds for rerun in found], 0.95))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
