"""Adapters as their company sees them, and which of them answers."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from cyrex.adapters.base_model import base_sha256, name_of, served_name
from cyrex.errors import NotFound, UserError
from cyrex.tenants.service import lock_company
from database.claims import is_alive
from database.models import AdapterAlias, LoraAdapter, Worker
from settings import get_settings


def get_adapter(
    session: Session, adapter_id: str, lock: bool = False, deleted: bool = False
) -> LoraAdapter:
    """lock: nobody else changes the row until the transaction ends. deleted: it may be.

    Raises `NotFound`.
    """
    row = session.get(LoraAdapter, adapter_id, with_for_update=lock or None)
    if row is None:
        raise NotFound("adapter_not_found", f"there is no adapter {adapter_id!r}", "adapter_id")
    if row.status == "deleted" and not deleted:
        raise NotFound("adapter_not_found", f"adapter {adapter_id!r} was deleted", "adapter_id")
    return row


def list_adapters(
    session: Session,
    company_id: str | None = None,
    status: str | None = None,
    limit: int = 100,
    after: str | None = None,
) -> list[LoraAdapter]:
    """Newest first; `after` is the last id of the page before. Deleted ones only if asked for."""
    query = select(LoraAdapter).order_by(LoraAdapter.adapter_id.desc()).limit(limit)
    if company_id is not None:
        query = query.where(LoraAdapter.company_id == company_id)
    if status is not None:
        query = query.where(LoraAdapter.status == status)
    else:
        query = query.where(LoraAdapter.status != "deleted")
    if after is not None:
        query = query.where(LoraAdapter.adapter_id < after)
    return list(session.scalars(query))


# Read for every job: built once.
CHAMPION = (
    select(LoraAdapter)
    .join(AdapterAlias, AdapterAlias.champion_id == LoraAdapter.adapter_id)
    .where(
        AdapterAlias.company_id == bindparam("company"),
        LoraAdapter.company_id == bindparam("company"),
    )
)


def champion_row(session: Session, company_id: str) -> LoraAdapter | None:
    """The champion as its row stands, whether or not it fits the base model that is served."""
    found: LoraAdapter | None = session.scalar(CHAMPION, {"company": company_id})
    return found


def champion_of(session: Session, company_id: str) -> LoraAdapter | None:
    """The adapter that answers for a company, or None while it has none.

    Raises `UserError` when the champion belongs to another base model than the one served.
    """
    champion = champion_row(session, company_id)
    if champion is not None:
        check_base(champion)
    return champion


def can_answer(adapter: LoraAdapter) -> bool:
    """Whether the adapter fits the base model that is served."""
    try:
        check_base(adapter)
    except UserError:
        return False
    return True


def check_base(adapter: LoraAdapter) -> None:
    """Refuse, by name, an adapter that was trained on another base model or revision."""
    _check_name(adapter)
    _check_weights(adapter, {base_sha256()} if adapter.base_sha256 is not None else set())


def check_served(session: Session, adapter: LoraAdapter) -> None:
    """`check_base` where the base model's files need not be: as the live workers tell of theirs."""
    _check_name(adapter)
    told = select(Worker.details["base_sha256"].astext).where(is_alive())
    _check_weights(adapter, {sha256 for sha256 in session.scalars(told) if sha256})


def _check_name(adapter: LoraAdapter) -> None:
    settings = get_settings()
    served = (served_name(), settings.base_model_revision)
    trained = (name_of(adapter.base_model), adapter.base_model_revision)
    if served != trained:
        raise UserError(
            "base_model_mismatch",
            f"adapter {adapter.adapter_id} was trained on {trained[0]} ({trained[1]}), "
            f"but {served[0]} ({served[1]}) is served",
            param="adapter_id",
            status=409,
        )


def _check_weights(adapter: LoraAdapter, served: Set[str]) -> None:
    """served: the identities of the weights that answer; none: nobody knows them."""
    if served and adapter.base_sha256 is not None and adapter.base_sha256 not in served:
        raise UserError(
            "base_model_mismatch",
            f"adapter {adapter.adapter_id} was trained on other weights of {served_name()} than"
            " those served: train it again",
            param="adapter_id",
            status=409,
        )


def champion_ids(session: Session, company_id: str | None = None) -> set[str]:
    """The ids of all champions that the session may see."""
    query = select(AdapterAlias.champion_id).where(AdapterAlias.champion_id.is_not(None))
    if company_id is not None:
        query = query.where(AdapterAlias.company_id == company_id)
    return {champion for champion in session.scalars(query) if champion}


def pinned_ids(session: Session, company_id: str | None = None) -> set[str]:
    """The ids of champions that stay until a person unpins them."""
    query = select(AdapterAlias.champion_id).where(AdapterAlias.pinned)
    if company_id is not None:
        query = query.where(AdapterAlias.company_id == company_id)
    return {champion for champion in session.scalars(query) if champion}


def resident_on(session: Session, company_id: str, adapter_id: str) -> list[str]:
    """The live workers that hold the adapter, by their last heartbeats."""
    wanted = [{"company_id": company_id, "adapter_id": adapter_id}]
    query = select(Worker.node).where(is_alive(), Worker.details["resident"].contains(wanted))
    return list(session.scalars(query.order_by(Worker.node)))


def next_version(session: Session, company_id: str) -> int:
    """The company's next adapter version; its row stays locked until the transaction ends."""
    lock_company(session, company_id)
    highest = session.scalar(
        select(func.max(LoraAdapter.version)).where(LoraAdapter.company_id == company_id)
    )
    return (highest or 0) + 1


def adapter_view(
    row: LoraAdapter, champions: Set[str], pinned: Set[str] = frozenset()
) -> dict[str, Any]:
    """An adapter as JSON. champions, pinned: the ids of those that are."""
    return {
        "adapter_id": row.adapter_id,
        "company_id": row.company_id,
        "version": row.version,
        "base_model": row.base_model,
        "base_model_revision": row.base_model_revision,
        "adapter_type": row.adapter_type,
        "status": row.status,
        "champion": row.adapter_id in champions,
        "pinned": row.adapter_id in pinned,
        "sha256": row.sha256,
        "request_id": row.request_id,
        "config": row.config,
        "metadata": row.details,
        "evaluation": row.evaluation,
        "error": row.error,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
    }
