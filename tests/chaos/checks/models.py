"""What became of trainings and their adapters."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.checks.sources import DOUBLED, LOST, ORPHANS, Finding, Sources


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
