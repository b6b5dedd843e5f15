"""`decide`: whether a new adapter answers for its company. The only writer of `adapter_aliases`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cyrex.adapters.service import champion_row
from cyrex.work.lease import Finish, Outcome, Repeat
from database.base import new_id
from database.models import AdapterAlias, Decision, LoraAdapter
from database.session import company_session
from modelkit.registry import get_registry
from settings import get_settings

# The alias in the registry.
CHAMPION = "champion"


def judge(evaluation: dict[str, Any], has_champion: bool) -> tuple[bool, str]:
    """Whether to promote, and why: not worse than the rival on the hold-out it never saw.

    The rival is the champion, or the base model where no champion can answer. Exact matches
    decide; the mean answer loss breaks a tie.
    """
    scores = evaluation.get("scores") or {}
    candidate = scores.get("candidate")
    # A champion of other base weights cannot answer any more, so it has no score.
    label = "champion" if has_champion and "champion" in scores else "base"
    rival = scores.get(label)
    if candidate is None or rival is None:
        label = "champion" if has_champion else "base"
        return True, f"there was no hold-out to compare with the {label} on: the newest serves"
    mine, theirs = candidate["exact_match"], rival["exact_match"]
    if mine != theirs:
        verb = "beats" if mine > theirs else "loses to"
        return mine > theirs, f"{mine:.1%} exact {verb} the {label}'s {theirs:.1%}"
    loss, bound = candidate["mean_loss"], rival["mean_loss"]
    if loss is None or bound is None:
        return bound is None, f"both have {mine:.1%} exact, and a loss is not finite"
    relation = "not above" if loss <= bound else "above"
    return loss <= bound, (
        f"both have {mine:.1%} exact; its loss {loss:.3f} is {relation} the {label}'s {bound:.3f}"
    )


class AliasMoved(RuntimeError):
    """The champion changed between the judgement and its writing: judge again."""


def decide(adapter: LoraAdapter) -> Outcome:
    """Judge, then move the alias by compare-and-swap in the transaction that ends the chain.

    An evaluation against another champion than today's says nothing: it is repeated.
    """
    with company_session(adapter.company_id) as session:
        alias = session.scalar(
            select(AdapterAlias).where(AdapterAlias.company_id == adapter.company_id)
        )
    champion_id = alias.champion_id if alias else None
    evaluation = adapter.evaluation or {}
    if evaluation.get("champion_id") != champion_id:
        return Repeat("evaluate", {"evaluation": None})
    promote, reason = judge(evaluation, champion_id is not None)

    def also(session: Session, row: LoraAdapter) -> None:
        if promote:
            _promote(session, row, alias)
        session.add(
            Decision(
                company_id=row.company_id,
                adapter_id=row.adapter_id,
                previous_id=champion_id,
                outcome="promoted" if promote else "rejected",
                reason=reason,
                evidence=evaluation.get("scores") or {},
            )
        )

    details = {**adapter.details, "decision": reason}
    then = (lambda: mirror(adapter.company_id)) if promote else None
    return Finish("ready" if promote else "rejected", {"details": details}, also, then)


def mirror(company_id: str) -> None:
    """Let the registry's alias follow ours, for who looks there. The product reads it nowhere."""
    with company_session(company_id) as session:
        champion = champion_row(session, company_id)
    if champion is not None:
        get_registry(get_settings()).set_alias(company_id, CHAMPION, champion.version)


def _promote(session: Session, row: LoraAdapter, alias: AdapterAlias | None) -> None:
    if alias is None:
        swapped = session.execute(
            insert(AdapterAlias)
            .values(alias_id=new_id(), company_id=row.company_id, champion_id=row.adapter_id)
            .on_conflict_do_nothing()
            .returning(AdapterAlias.alias_id)
        ).first()
    else:
        swapped = session.execute(
            update(AdapterAlias)
            .where(AdapterAlias.alias_id == alias.alias_id, AdapterAlias.version == alias.version)
            .values(
                champion_id=row.adapter_id, version=AdapterAlias.version + 1, updated_at=func.now()
            )
            .returning(AdapterAlias.alias_id)
        ).first()
    if swapped is None:
        raise AliasMoved(f"company {row.company_id}: the champion has changed meanwhile")
