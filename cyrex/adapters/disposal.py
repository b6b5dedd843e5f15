"""What follows a person's decision: the registry's alias, and the bytes of what was deleted."""

from __future__ import annotations

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from cyrex.adapters.files import adapter_cache
from cyrex.adapters.promotion import mirror
from database.models import Decision, LoraAdapter, TrainingCheckpoint, TrainingRun
from database.session import company_session, operator_session
from modelkit.registry import get_registry
from settings import get_settings


def settle(company_id: str) -> list[str]:
    """Set the registry's alias, and forget what the company has deleted.

    Returns the SHA-256 of each package that no adapter has any more, for the caches of other
    machines. Raises `RegistryError` or OSError when the registry is away: then call it again.
    """
    mirror(company_id)
    with company_session(company_id) as session:
        deleted = session.scalars(
            select(LoraAdapter).where(
                LoraAdapter.company_id == company_id, LoraAdapter.status == "deleted"
            )
        ).all()
    found = [forget(adapter) for adapter in deleted if adapter.registry_path or adapter.sha256]
    return [sha256 for sha256 in found if sha256 is not None]


def unsettled() -> list[str]:
    """The companies with a deleted adapter whose bytes are still there."""
    with operator_session() as session:
        query = select(LoraAdapter.company_id).where(
            LoraAdapter.status == "deleted", LoraAdapter.sha256.is_not(None)
        )
        return list(session.scalars(query.distinct()))


def forget(adapter: LoraAdapter) -> str | None:
    """Delete a deleted adapter's package, checkpoints and evidence; may be called again.

    Its blobs have no name then, and `cyrex.recovery.blob_sweep` takes them. Returns the package's
    SHA-256 if no other adapter has the same bytes.
    """
    assert adapter.status == "deleted"
    get_registry(get_settings()).delete_model(adapter.company_id, adapter.version)
    with operator_session() as session:
        shared = session.scalar(
            select(LoraAdapter.adapter_id)
            .where(
                LoraAdapter.sha256 == adapter.sha256, LoraAdapter.adapter_id != adapter.adapter_id
            )
            .limit(1)
        )
    alone = adapter.sha256 if shared is None else None
    if alone is not None:
        adapter_cache().delete(alone)
    with company_session(adapter.company_id) as session:
        _empty_run(session, adapter)
        session.execute(
            update(Decision).where(Decision.adapter_id == adapter.adapter_id).values(evidence={})
        )
        session.execute(
            update(LoraAdapter)
            .where(LoraAdapter.adapter_id == adapter.adapter_id)
            .values(sha256=None, registry_path=None, adapter_path=None)
        )
    return alone


def _empty_run(session: Session, adapter: LoraAdapter) -> None:
    """The training keeps its row, its events and its data, and loses what it has learnt."""
    if adapter.request_id is None:
        return
    session.execute(
        delete(TrainingCheckpoint).where(TrainingCheckpoint.request_id == adapter.request_id)
    )
    session.execute(
        update(TrainingRun)
        # One that failed may be replayed, from the package that it has.
        .where(TrainingRun.request_id == adapter.request_id, TrainingRun.status == "succeeded")
        .values(package_sha256=None, evaluation=None)
    )
