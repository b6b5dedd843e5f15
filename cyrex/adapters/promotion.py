"""`decide`: whether a new adapter answers for its company. The only writer of `adapter_aliases`.

But for `cyrex.adapters.lifecycle`, when a person decides. Both go through `cyrex.adapters.alias`.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyrex.adapters.alias import AliasMoved, set_champion
from cyrex.adapters.gate import Promote, judge
from cyrex.adapters.service import champion_row
from cyrex.work.lease import Finish, Outcome, Repeat
from database.models import AdapterAlias, Decision, LoraAdapter, TrainingRun
from database.session import company_session
from modelkit.registry import get_registry
from settings import get_settings

__all__ = ["AliasMoved", "decide", "mirror", "set_champion"]

# The alias in the registry.
CHAMPION = "champion"


def decide(adapter: LoraAdapter) -> Outcome:
    """Judge, then move the alias by compare-and-swap in the transaction that ends the chain.

    An evaluation against another champion than the present one is repeated.
    """
    with company_session(adapter.company_id) as session:
        alias = session.scalar(
            select(AdapterAlias).where(AdapterAlias.company_id == adapter.company_id)
        )
        promote = _asked_for(session, adapter)
    champion_id = alias.champion_id if alias else None
    evaluation = adapter.evaluation or {}
    if evaluation.get("champion_id") != champion_id:
        return Repeat("evaluate", {"evaluation": None})
    verdict = judge(evaluation, champion_id is not None, promote)
    if alias is not None and alias.pinned:
        reason = f"the champion is pinned ({verdict.reason})"
        verdict = replace(verdict, promote=False, reason=reason)

    def in_transaction(session: Session, row: LoraAdapter) -> None:
        if verdict.promote:
            set_champion(session, row, alias)
        session.add(
            Decision(
                company_id=row.company_id,
                adapter_id=row.adapter_id,
                previous_id=champion_id,
                outcome="promoted" if verdict.promote else "rejected",
                reason=verdict.reason,
                evidence={
                    **verdict.evidence,
                    "labels": evaluation.get("labels"),
                    "side_by_side": evaluation.get("side_by_side"),
                },
            )
        )

    details = {**adapter.details, "decision": verdict.reason}
    after_commit = (lambda: mirror(adapter.company_id)) if verdict.promote else None
    return Finish(
        "ready" if verdict.promote else "rejected",
        {"details": details},
        in_transaction,
        after_commit,
    )


def _asked_for(session: Session, adapter: LoraAdapter) -> Promote:
    """What the training's request says of promotion; an outside adapter needs evidence."""
    asked: Promote | None = session.scalar(
        select(TrainingRun.promote).where(TrainingRun.request_id == adapter.request_id)
    )
    return asked or "evidence"


def mirror(company_id: str) -> None:
    """Set the registry's alias as ours stands, for people who look there; nothing here reads it."""
    with company_session(company_id) as session:
        champion = champion_row(session, company_id)
    version = champion.version if champion is not None else None
    get_registry(get_settings()).set_alias(company_id, CHAMPION, version)
