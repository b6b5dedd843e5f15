"""What people decide about adapters: promote, roll back, pin, unpin, retire, delete.

Each function runs in the caller's transaction, which locks the adapter's row and then its
company's alias, and adds the `Decision`. What follows a commit is in `cyrex.adapters.disposal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cyrex.adapters.alias import AliasMoved, set_champion, swap
from cyrex.adapters.decisions import (
    ROLLBACK_VERSIONS,
    before_the_champion,
    earlier_champions,
)
from cyrex.adapters.service import check_served, get_adapter
from cyrex.errors import Conflict
from database import claims
from database.base import Json, new_id
from database.models import AdapterAlias, Decision, LoraAdapter, TrainingRun
from database.transitions import ADAPTER, TRAINING

BY_A_PERSON = "by a person"


def promote(session: Session, adapter_id: str, by: str) -> Decision:
    """Make a ready or rejected adapter the champion, without evidence.

    by: the prefix of the API key that asked. Raises `NotFound`, `Conflict`.
    """
    row, alias = _held(session, adapter_id)
    return _make_champion(session, row, alias, "promoted", by)


def rollback(session: Session, company_id: str, adapter_id: str | None, by: str) -> Decision:
    """Make one of the last `ROLLBACK_VERSIONS` earlier champions the champion again.

    adapter_id: which one; None: the one before the present champion. Raises `NotFound`, `Conflict`.
    """
    earlier = earlier_champions(session, company_id)
    if adapter_id is None:
        adapter_id = before_the_champion(session, company_id, earlier)
    row, alias = _held(session, adapter_id)
    if alias is not None and alias.champion_id == adapter_id:
        raise _already_champion(row, earlier)
    _require_usable(row)
    if adapter_id not in {adapter.adapter_id for adapter in earlier}:
        raise Conflict(
            "not_an_earlier_champion",
            f"adapter {adapter_id} is none of the last {ROLLBACK_VERSIONS} champions before this"
            f" one, which are: {_named(earlier)}; promote it instead",
            "adapter_id",
            details=[adapter.adapter_id for adapter in earlier],
        )
    return _make_champion(session, row, alias, "rolled_back", by)


def pin(session: Session, adapter_id: str, by: str) -> Decision:
    """Let no candidate replace the champion until `unpin`. Raises `NotFound`, `Conflict`."""
    row, alias = _held(session, adapter_id)
    if alias is None or alias.champion_id != adapter_id:
        raise Conflict(
            "not_the_champion",
            f"adapter {adapter_id} does not answer for its company: promote it first",
            "adapter_id",
        )
    if alias.pinned:
        raise Conflict("already_pinned", f"adapter {adapter_id} is pinned already", "adapter_id")
    _swap(session, alias, pinned=True)
    return _decided(session, row, "pinned", adapter_id, by)


def unpin(session: Session, adapter_id: str, by: str) -> Decision:
    """Let candidates with evidence replace the champion again. Raises `NotFound`, `Conflict`."""
    row, alias = _held(session, adapter_id)
    if alias is None or alias.champion_id != adapter_id or not alias.pinned:
        raise Conflict("not_pinned", f"adapter {adapter_id} is not pinned", "adapter_id")
    _swap(session, alias, pinned=False)
    return _decided(session, row, "unpinned", adapter_id, by)


def retire(session: Session, adapter_id: str, force: bool, by: str) -> Decision:
    """Let an adapter answer nothing any more; its bytes stay.

    force: the champion too, which leaves the base model to answer. Raises `NotFound`, `Conflict`.
    """
    row, alias = _held(session, adapter_id)
    _require_usable(row)
    champion_id = _step_down(session, row, alias, force)
    moved = claims.move(session, ADAPTER, adapter_id, "retired")
    assert moved is not None, "the row is locked, and its state allows it"
    return _decided(session, row, "retired", champion_id, by)


def delete(session: Session, adapter_id: str, force: bool, by: str) -> Decision:
    """Delete an adapter's data; `disposal.forget` deletes its bytes after the commit.

    The row stays as a sign that its id and version were used. force: as `retire`. Raises
    `NotFound`, `Conflict`.
    """
    row, alias = _held(session, adapter_id)
    if row.status not in ADAPTER.sources("deleted"):
        raise Conflict(
            "adapter_not_ready",
            f"adapter {adapter_id} is {row.status}: wait until its evaluation has ended",
            "adapter_id",
        )
    run_id = session.scalar(
        select(TrainingRun.request_id)
        .where(
            TrainingRun.company_id == row.company_id,
            TrainingRun.continue_from == adapter_id,
            TrainingRun.status.not_in(TRAINING.terminal),
        )
        .limit(1)
    )
    if run_id is not None:
        raise Conflict(
            "adapter_in_use",
            f"training {run_id} goes on from adapter {adapter_id}: wait for it, or cancel it",
            "adapter_id",
        )
    champion_id = _step_down(session, row, alias, force)
    empty: Json = {"config": {}, "details": {}, "evaluation": None, "error": None, "history": []}
    moved = claims.move(session, ADAPTER, adapter_id, "deleted", **empty)
    assert moved is not None, "the row is locked, and its state allows it"
    return _decided(session, row, "deleted", champion_id, by)


def _held(session: Session, adapter_id: str) -> tuple[LoraAdapter, AdapterAlias | None]:
    """The adapter and its company's alias, locked in this order, as `decide` writes them."""
    row = get_adapter(session, adapter_id, lock=True)
    alias = session.scalar(
        select(AdapterAlias)
        .where(AdapterAlias.company_id == row.company_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return row, alias


def _require_usable(row: LoraAdapter) -> None:
    if row.status not in ("ready", "rejected"):
        raise Conflict(
            "adapter_not_ready",
            f"adapter {row.adapter_id} is {row.status}; it must be ready or rejected",
            "adapter_id",
        )


def _already_champion(row: LoraAdapter, earlier: Sequence[LoraAdapter] = ()) -> Conflict:
    ways = f"; to go back to: {_named(earlier)}" if earlier else ""
    return Conflict(
        "already_champion",
        f"adapter {row.adapter_id} answers for its company already{ways}",
        "adapter_id",
    )


def _named(adapters: Sequence[LoraAdapter]) -> str:
    return ", ".join(f"{a.adapter_id} (v{a.version})" for a in adapters) or "none"


def _make_champion(
    session: Session, row: LoraAdapter, alias: AdapterAlias | None, outcome: str, by: str
) -> Decision:
    _require_usable(row)
    champion_id = alias.champion_id if alias is not None else None
    if champion_id == row.adapter_id:
        raise _already_champion(row)
    if alias is not None and alias.pinned and champion_id is not None:
        raise Conflict("pinned", f"adapter {champion_id} is pinned: unpin it first", "adapter_id")
    check_served(session, row)
    if row.status == "rejected":
        moved = claims.move(session, ADAPTER, row.adapter_id, "ready", only_from="rejected")
        assert moved is not None, "the row is locked"
    try:
        set_champion(session, row, alias)
    except AliasMoved as error:
        raise _moved(error) from error
    return _decided(session, row, outcome, champion_id, by)


def _step_down(
    session: Session, row: LoraAdapter, alias: AdapterAlias | None, force: bool
) -> str | None:
    """Let the company's alias name this adapter no more; returns the champion until now."""
    if alias is None:
        return None
    champion_id = alias.champion_id
    values: dict[str, Any] = {}
    if champion_id == row.adapter_id:
        if not force:
            raise Conflict(
                "adapter_is_champion",
                f"adapter {row.adapter_id} answers for its company: promote another one first, or"
                " send force=true to let the base model answer",
                "force",
            )
        values |= {"champion_id": None, "pinned": False}
    if alias.challenger_id == row.adapter_id:
        values |= {"challenger_id": None, "challenger_share": 0}
    if values:
        _swap(session, alias, **values)
    return champion_id


def _swap(session: Session, alias: AdapterAlias, **values: Any) -> None:
    try:
        swap(session, alias, **values)
    except AliasMoved as error:
        raise _moved(error) from error


def _moved(error: AliasMoved) -> Conflict:
    return Conflict("champion_moved", f"{error}: look at it and ask again")


def _decided(
    session: Session, row: LoraAdapter, outcome: str, previous_id: str | None, by: str
) -> Decision:
    decision = Decision(
        decision_id=new_id(),
        company_id=row.company_id,
        adapter_id=row.adapter_id,
        previous_id=previous_id,
        outcome=outcome,
        reason=BY_A_PERSON,
        evidence={"api_key": by},
        created_at=func.clock_timestamp(),
    )
    session.add(decision)
    session.flush()
    session.refresh(decision)
    return decision
