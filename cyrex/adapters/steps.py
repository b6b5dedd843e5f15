"""The steps of an announced adapter: fetch, evaluate if there is no receipt, warm (then decide).

An outside system's adapter and one trained here are treated alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cyrex.adapters import evaluation as evaluations
from cyrex.adapters.base_model import name_of, require_base, served_name
from cyrex.adapters.files import package_of
from cyrex.adapters.service import champion_row, check_base, next_version
from cyrex.datasets import Split, split_of
from cyrex.errors import UserError
from cyrex.host.work_dirs import work_dir
from cyrex.work.lease import Advance, Lease, Outcome
from database import claims
from database.models import LoraAdapter, TrainingRun
from database.session import company_session
from database.transitions import ADAPTER
from modelkit import package
from modelkit.errors import PackageRefused, Refusal
from modelkit.registry import get_registry
from settings import get_settings
from synapse.payloads import AdapterReady


def announced(session: Session, news: AdapterReady) -> LoraAdapter | None:
    """The adapter that an event announces, ready for its chain; None: its chain has begun already.

    An adapter unknown here gets a row and a version. Raises `UserError` for one that belongs to
    another company.
    """
    moved = _announce(session, news.adapter_id)
    if moved is None and session.get(LoraAdapter, news.adapter_id) is None:
        _from_outside(session, news)
        moved = _announce(session, news.adapter_id)
    row = moved or session.get_one(LoraAdapter, news.adapter_id)
    if row.company_id != news.company_id:
        raise UserError("wrong_company", f"adapter {news.adapter_id} is another company's")
    return moved


def _announce(session: Session, adapter_id: str) -> LoraAdapter | None:
    """Move a registered adapter to `announced`: one statement, as most events name one."""
    moved: LoraAdapter | None = claims.move(
        session,
        ADAPTER,
        adapter_id,
        "announced",
        only_from="registered",
        step=ADAPTER.steps[0],
        published_at=func.now(),
        publications=1,
    )
    return moved


def _from_outside(session: Session, news: AdapterReady) -> LoraAdapter:
    settings = get_settings()
    row = LoraAdapter(
        adapter_id=news.adapter_id,
        company_id=news.company_id,
        version=next_version(session, news.company_id),
        base_model=name_of(news.base_model) if news.base_model else served_name(),
        base_model_revision=settings.base_model_revision,
        adapter_type="lora",
        adapter_path=news.adapter_path or news.registry_path,
        sha256=news.sha256,
        config={},
        details={"source": "stream", **news.metadata},
        status="registered",
    )
    session.add(row)
    session.flush()
    return row


def fetch(adapter: LoraAdapter, lease: Lease) -> Outcome:
    """Fetch and verify the package; register an outside one first."""
    check_base(adapter)
    try:
        if adapter.registry_path is None:
            return Advance(_import(adapter))
        package_of(adapter)
    except PackageRefused as refused:
        raise UserError("package_refused", str(refused), param="adapter_path") from None
    return Advance()


def _import(adapter: LoraAdapter) -> dict[str, Any]:
    """Register an adapter that lies in a folder named by the event which announced it."""
    folder = Path(adapter.adapter_path or "")
    if not adapter.adapter_path or not folder.is_dir():
        raise UserError(
            "package_not_found",
            f"adapter_path: no folder {adapter.adapter_path!r} on this machine",
            param="adapter_path",
        )
    sha256 = package.build(folder).sha256
    if adapter.sha256 not in (None, sha256):
        raise PackageRefused(Refusal.WRONG_IDENTITY, folder.name, f"announced was {adapter.sha256}")
    registered = get_registry(get_settings()).register_model(
        adapter.company_id, adapter.version, folder, {"adapter_id": adapter.adapter_id}
    )
    return {"sha256": registered.sha256, "registry_path": registered.path}


def evaluate(adapter: LoraAdapter, lease: Lease) -> Outcome:
    """Evaluate unless a receipt compares this very package with today's champion."""
    with company_session(adapter.company_id) as session:
        champion = champion_row(session, adapter.company_id)
        champion_id = champion.adapter_id if champion else None
        receipt = adapter.evaluation or {}
        current = receipt.get("sha256") == adapter.sha256
        if current and receipt.get("champion_id") == champion_id:
            return Advance()
        run = _run_of(session, adapter)
    split = Split([], [], [])
    if run is not None:
        split = split_of(run.company_id, run.dataset_id)
    assert adapter.sha256 is not None, "fetch sets the package's hash"
    source = package_of(adapter)

    def copy_to(target: Path) -> None:
        package.copy(source, target, package.build(source))

    with work_dir(f"adapter-{adapter.adapter_id}-{adapter.attempt}") as folder:
        found = evaluations.evaluate(
            adapter.company_id,
            split,
            adapter.sha256,
            copy_to,
            require_base(adapter.base_model),
            folder / "evaluation",
            lease.should_stop,
        )
    if found is None:
        return lease.stopped()
    return Advance({"evaluation": found})


def _run_of(session: Session, adapter: LoraAdapter) -> TrainingRun | None:
    """The adapter's own run, else the company's newest finished one."""
    query = select(TrainingRun).where(TrainingRun.company_id == adapter.company_id)
    if adapter.request_id is not None:
        query = query.where(TrainingRun.request_id == adapter.request_id)
    else:
        query = query.where(TrainingRun.status == "succeeded")
    return session.scalar(query.order_by(TrainingRun.request_id.desc()).limit(1))
