"""`decide`: whether a new adapter answers for its company. The only writer of `adapter_aliases`.

`cyrex.adapters.lifecycle` writes it too, with this module's functions, when a person decides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cyrex.adapters.gate import Promote, judge
from cyrex.adapters.service import champion_row
from cyrex.work.lease import Finish, Outcome, Repeat
from database.base import new_id
from database.models import AdapterAlias, Decision, LoraAdapter, TrainingRun
from database.session import company_session
from modelkit.registry import get_registry
from settings import get_settings

# The alias in the registry.
CHAMPION = "champion"


class AliasMoved(RuntimeError):
    """The champion changed between the judgement and its writing: judge again."""


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


def set_champion(session: Session, row: LoraAdapter, alias: AdapterAlias | None) -> None:
    """Move the alias by compare-and-swap. Raises `AliasMoved` if it is not as `alias` says."""
    if alias is not None:
        swap(session, alias, champion_id=row.adapter_id)
        return
    made = session.execute(
        insert(AdapterAlias)
        .values(alias_id=new_id(), company_id=row.company_id, champion_id=row.adapter_id)
        .on_conflict_do_nothing()
        .returning(AdapterAlias.alias_id)
    ).first()
    if made is None:
        raise AliasMoved(f"company {row.company_id}: the champion has changed meanwhile")


def swap(session: Session, alias: AdapterAlias, **values: Any) -> None:
    """Change the alias if it is still as `alias` says. Raises `AliasMoved` otherwise."""
    swapped = session.execute(
        update(AdapterAlias)
        .where(AdapterAlias.alias_id == alias.alias_id, AdapterAlias.version == alias.version)
        .values(version=AdapterAlias.version + 1, updated_at=func.now(), **values)
        .returning(AdapterAlias.alias_id)
        .execution_options(synchronize_session=False)
    ).first()
    if swapped is None:
        raise AliasMoved(f"company {alias.company_id}: the champion has changed meanwhile")
