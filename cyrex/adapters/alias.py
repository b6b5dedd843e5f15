"""The writes of `adapter_aliases`: each a compare-and-swap of the row as it was read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from database.base import new_id
from database.models import AdapterAlias, LoraAdapter


class AliasMoved(RuntimeError):
    """The champion changed between the judgement and its writing: judge again."""


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
