"""The decisions about a company's adapters, and the champions that they tell of."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from cyrex.errors import Conflict
from database.base import Json
from database.models import AdapterAlias, Decision, LoraAdapter

# How many earlier champions a company can go back to.
ROLLBACK_VERSIONS = 3
# Changes of the champion that are looked through for them.
HISTORY = 500


def list_decisions(
    session: Session,
    company_id: str | None = None,
    adapter_id: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> list[Decision]:
    """Newest first; `after` is the last id of the page before."""
    query = select(Decision).order_by(Decision.decision_id.desc()).limit(limit)
    if company_id is not None:
        query = query.where(Decision.company_id == company_id)
    if adapter_id is not None:
        query = query.where(Decision.adapter_id == adapter_id)
    if after is not None:
        query = query.where(Decision.decision_id < after)
    return list(session.scalars(query))


def decision_view(row: Decision) -> Json:
    """A decision as JSON."""
    return {
        "decision_id": row.decision_id,
        "company_id": row.company_id,
        "adapter_id": row.adapter_id,
        "previous_id": row.previous_id,
        "outcome": row.outcome,
        "reason": row.reason,
        "evidence": row.evidence,
        "created_at": row.created_at.isoformat(),
    }


def earlier_champions(session: Session, company_id: str) -> list[LoraAdapter]:
    """The last champions before the present one that can still answer, the latest first."""
    champion_id = session.scalar(
        select(AdapterAlias.champion_id).where(AdapterAlias.company_id == company_id)
    )
    found: list[LoraAdapter] = []
    for adapter_id in dict.fromkeys(reversed(_reigns(session, company_id))):
        adapter = session.get(LoraAdapter, adapter_id)
        if adapter is not None and adapter.status == "ready" and adapter_id != champion_id:
            found.append(adapter)
        if len(found) == ROLLBACK_VERSIONS:
            break
    return found


def _reigns(session: Session, company_id: str) -> list[str]:
    """The champions one after the other, the present one last."""
    found: list[str] = []
    for decision in reversed(session.scalars(_changes(company_id)).all()):
        # The champion of a time before these decisions.
        if decision.previous_id is not None and found[-1:] != [decision.previous_id]:
            found.append(decision.previous_id)
        found.append(decision.adapter_id)
    return found


def _changes(company_id: str) -> Select[Decision]:
    """The newest decisions that made a champion, the latest first."""
    return (
        select(Decision)
        .where(
            Decision.company_id == company_id,
            Decision.outcome.in_(("promoted", "rolled_back")),
        )
        .order_by(Decision.decision_id.desc())
        .limit(HISTORY)
    )


def before_the_champion(session: Session, company_id: str, earlier: Sequence[LoraAdapter]) -> str:
    """The champion before the present one. One that was rolled back from is not come back to."""
    reigns: list[str] = []
    for adapter_id in _reigns(session, company_id):
        if adapter_id in reigns:
            del reigns[reigns.index(adapter_id) :]
        reigns.append(adapter_id)
    usable = {adapter.adapter_id for adapter in earlier}
    for adapter_id in reversed(reigns):
        if adapter_id in usable:
            return adapter_id
    raise Conflict(
        "no_earlier_champion", f"company {company_id} has no earlier champion to go back to"
    )
