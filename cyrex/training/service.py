"""Training runs as their company sees them: ask for one, follow it, cancel it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from cyrex import datasets
from cyrex.adapters.base_model import served_name
from cyrex.datasets import StoredLines
from cyrex.errors import Conflict, NotFound
from cyrex.tenants.quotas import require_place
from cyrex.training.check import VALIDATION, check_examples
from cyrex.training.order import MAX_SEED, TrainingOrder
from cyrex.training.parents import config_of, parent_of
from database import claims
from database.base import new_id, storable
from database.models import Dataset, LoraAdapter, TrainingEvent, TrainingRun
from database.transitions import TRAINING
from settings import get_settings
from synapse.outbox import announce
from synapse.payloads import TRAINING_REQUESTED, TrainingRequested
from synapse.streams import LORA_TRAINING_REQUESTS


def request_training(
    session: Session, order: TrainingOrder, data: StoredLines | Dataset
) -> TrainingRun:
    """Add a run and the event that asks for it, in the caller's transaction.

    data: stored lines, which become a dataset, or a dataset of the company.
    Raises `TooMany` when the company has too many open trainings; as `parent_of` for an adapter
    that the run cannot go on from.
    """
    require_place(session, TRAINING, order.company_id)
    parent = parent_of(session, order)
    dataset = data if isinstance(data, Dataset) else _new_dataset(session, order.company_id, data)
    run = _new_run(order, dataset, parent)
    session.add(run)
    session.flush()
    if not order.is_an_event:
        _announce(session, run)
    by = f" by {order.asked_by}" if order.asked_by else ""
    said = f"training on {dataset.examples} examples requested{by}"
    counts = {} if dataset.report is None else {"counts": dataset.report.get("counts")}
    add_event(session, run, "requested", said, {**order.details, **counts})
    return run


def has_datasets(session: Session, company_id: str) -> bool:
    """Whether the company has ever sent rows: then a new training's are split with them."""
    query = select(Dataset.dataset_id).where(Dataset.company_id == company_id).limit(1)
    return session.scalar(query) is not None


def accept_from_stream(
    session: Session, wanted: TrainingRequested, correlation_id: str | None = None
) -> TrainingRun:
    """Queue the run of an outside publisher's event with inline data. Raises `UserError`."""
    order = TrainingOrder(
        wanted.company_id,
        wanted.config,
        wanted.use_qlora,
        wanted.seed,
        wanted.base_model,
        wanted.replace,
        wanted.promote,
        wanted.continue_from,
        source="stream",
        asked_by="event",
        request_id=wanted.request_id,
        correlation_id=correlation_id,
    )
    checked = check_examples(wanted.training_data or [])
    own = wanted.validation_data
    validation = [] if own is None else check_examples(own, VALIDATION).lines
    # Before the company is locked, or whoever admits its rows would wait for the store too.
    data = datasets.store(checked.lines, checked.report.counts(), validation, order.replace)
    return request_training(session, order, data)


def _new_dataset(session: Session, company_id: str, data: StoredLines) -> Dataset:
    dataset = Dataset(dataset_id=new_id(), company_id=company_id, **asdict(data))
    session.add(dataset)
    session.flush()
    return dataset


def _new_run(order: TrainingOrder, dataset: Dataset, parent: LoraAdapter | None) -> TrainingRun:
    request_id = order.request_id or new_id()
    return TrainingRun(
        request_id=request_id,
        company_id=order.company_id,
        dataset_id=dataset.dataset_id,
        base_model=served_name(),
        base_model_revision=get_settings().base_model_revision,
        config=config_of(order, parent),
        continue_from=parent.adapter_id if parent else None,
        promote=order.promote,
        use_qlora=order.use_qlora,
        seed=secrets.randbelow(MAX_SEED) if order.seed is None else order.seed,
        source=order.source,
        correlation_id=order.correlation_id or request_id,
        status="queued" if order.is_an_event else "requested",
        queued_at=datetime.now(UTC) if order.is_an_event else None,
        step=TRAINING.steps[0],
    )


def _announce(session: Session, run: TrainingRun) -> None:
    """Publish the run: the bridge mirrors the event, as it does an outside publisher's."""
    announce(
        session,
        LORA_TRAINING_REQUESTS,
        TRAINING_REQUESTED,
        run.company_id,
        {
            "request_id": run.request_id,
            "dataset_id": run.dataset_id,
            "base_model": run.base_model,
            "config": run.config,
            "use_qlora": run.use_qlora,
            "seed": run.seed,
            "promote": run.promote,
            "continue_from": run.continue_from,
        },
        correlation_id=run.request_id,
        event_id=run.request_id,
    )


def add_event(
    session: Session,
    run: TrainingRun,
    kind: str,
    message: str,
    data: Mapping[str, Any] | None = None,
    level: str = "info",
) -> None:
    """Append an event to a run, for people who follow it."""
    session.add(
        TrainingEvent(
            company_id=run.company_id,
            request_id=run.request_id,
            type=kind,
            message=storable(message),
            data=dict(data or {}),
            level=level,
        )
    )


def end(session: Session, run: TrainingRun) -> None:
    """Date the end of a run and tell who follows it, in the transaction that ends it."""
    run.finished_at = datetime.now(UTC)
    if run.status == "failed":
        error = run.error or {"message": "failed"}
        add_event(session, run, "failed", str(error["message"]), error, level="error")
    elif run.status == "cancelled":
        add_event(session, run, "cancelled", "cancelled; what was saved is kept")


def get_training(session: Session, request_id: str) -> TrainingRun:
    run = session.get(TrainingRun, request_id)
    if run is None:
        raise NotFound("training_not_found", f"there is no training {request_id!r}", "request_id")
    return run


def list_trainings(
    session: Session, limit: int = 50, after: str | None = None, status: str | None = None
) -> list[TrainingRun]:
    """Newest first; `after` is the last id of the page before."""
    query = select(TrainingRun).order_by(TrainingRun.request_id.desc()).limit(limit)
    if after is not None:
        query = query.where(TrainingRun.request_id < after)
    if status is not None:
        query = query.where(TrainingRun.status == status)
    return list(session.scalars(query))


def training_events(
    session: Session, request_id: str, after: int = 0, limit: int = 100
) -> list[TrainingEvent]:
    """Events in order, from the one after id `after`. Raises `NotFound` for an unknown run."""
    get_training(session, request_id)
    return list(
        session.scalars(
            select(TrainingEvent)
            .where(TrainingEvent.request_id == request_id, TrainingEvent.id > after)
            .order_by(TrainingEvent.id)
            .limit(limit)
        )
    )


def cancel_training(session: Session, request_id: str) -> TrainingRun:
    """Cancel a run: at once if no step owns it, else its owner ends it at its next look.

    Raises `NotFound`, and `Conflict` when the run has ended.
    """
    run = get_training(session, request_id)
    moved: TrainingRun | None = claims.move(
        session, TRAINING, request_id, "cancelled", cancel_requested=True
    )
    if moved is not None:
        end(session, moved)
        return moved
    asked: TrainingRun | None = session.scalar(
        update(TrainingRun)
        .where(
            TrainingRun.request_id == request_id,
            TrainingRun.status.not_in(TRAINING.terminal),
        )
        .values(cancel_requested=True)
        .returning(TrainingRun)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    if asked is None:
        raise Conflict("already_ended", f"the training has ended: {run.status}", "request_id")
    return asked


def position_of(session: Session, run: TrainingRun) -> int | None:
    """How many unfinished runs, of all companies, stand before this one; None once it runs."""
    if run.status not in ("requested", "queued", "admitted"):
        return None
    ahead = session.scalar(
        text("SELECT count_trainings_before(:request_id)"), {"request_id": run.request_id}
    )
    return int(ahead or 0)


def training_view(session: Session, run: TrainingRun) -> dict[str, Any]:
    """A run as JSON."""
    adapter = session.get(LoraAdapter, run.adapter_id) if run.adapter_id else None
    dataset = session.get_one(Dataset, run.dataset_id)
    report = dataset.report or {}
    return {
        "request_id": run.request_id,
        "company_id": run.company_id,
        "status": run.status,
        "step": run.step if run.status not in TRAINING.terminal else None,
        "position": position_of(session, run),
        "dataset_id": run.dataset_id,
        "counts": report.get("counts"),
        "split": report.get("split"),
        "replace": dataset.replaces,
        "continue_from": run.continue_from,
        "promote": run.promote,
        "base_model": run.base_model,
        "config": run.config,
        "use_qlora": run.use_qlora,
        "seed": run.seed,
        "attempt": run.attempt,
        "cancel_requested": run.cancel_requested,
        "progress": run.progress,
        "metrics": run.metrics,
        "evaluation": run.evaluation,
        "adapter_id": run.adapter_id,
        "adapter_status": adapter.status if adapter else None,
        "error": run.error,
        "created_at": run.created_at.isoformat(),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
    }
