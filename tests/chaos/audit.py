"""Decides what was lost, done twice, left without an owner, or left standing.

Reads Postgres, the registry, the blob store, the streams and the tool server's own log, and holds
them against the ledger of what was asked for. It asks the product nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.chaos.checks.jobs import calls, jobs
from tests.chaos.checks.models import adapters, trainings
from tests.chaos.checks.requests import requests
from tests.chaos.checks.rest import at_rest, bytes_, delivery
from tests.chaos.checks.sources import DOUBLED, LOST, ORPHANS, STUCK, Sources, beyond_promise


@dataclass
class Report:
    """Findings by kind, a sentence each.

    Beside them, what no promise covers. `beyond`: outside events that Redis forgot. `unbilled`:
    conversations that were answered by a worker and an API which died before one of them wrote what
    they used.
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
    report.beyond = len(beyond_promise(sources))
    report.unbilled = _unbilled(sources)
    for check in (requests, jobs, calls, trainings, adapters, delivery, bytes_, at_rest):
        for kind, sentence in check(sources):
            report.found[kind].append(sentence)
    return report


def _unbilled(sources: Sources) -> int:
    query = "SELECT reference FROM usage WHERE kind = 'conversation'"
    billed = {f"chatcmpl-{reference}" for (reference,) in sources.rows.all(query)}
    answered = [a for a in sources.asked if a.kind == "conversation" and a.answer != "silence"]
    return sum(asked.reference not in billed for asked in answered)
