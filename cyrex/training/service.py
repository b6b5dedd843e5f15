"""Training runs as their company sees them: ask for one, follow it, cancel it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from cyrex.adapters.base_model import served_name
from cyrex.errors import Conflict, NotFound, UserError
from cyrex.tenants.quotas import require_place
from cyrex.training.check import check_config, check_request, jsonl
from database import claims
from database.base import new_id, storable
from database.models import Dataset, LoraAdapter, TrainingEvent, TrainingRun
from database.transitions import TRAINING
from modelkit.blobs import BlobStore, get_blob_store
from settings import get_settings
from synapse.outbox import announce
from synapse.payloads import TRAINING_REQUESTED, TrainingRequested
from synapse.streams import LORA_TRAINING_REQUESTS

MAX_SEED = 2**31 - 1


def blob_store() -> BlobStore:
    """Where datasets, checkpoints and packages are, on whichever machine this runs."""
    return get_blob_store(get_settings())


@dataclass(frozen=True)
class StoredLines:
    """A dataset's bytes in the blob store; nobody's until a row names them."""

    sha256: str
    size_bytes: int
    examples: int


def store(lines: Sequence[Any]) -> StoredLines:
    """Durable before the row that names them commits, and before its transaction begins: a store
    that hangs holds no connection to the database. Raises `OSError`."""
    body = b"".join(map(jsonl, lines))
    return StoredLines(blob_store().put_bytes(body), len(body), len(lines))


def request_training(
    session: Session,
    company_id: str,
    data: StoredLines,
    config: Mapping[str, Any] | None = None,
    use_qlora: bool = True,
    seed: int | None = None,
    source: str = "api",
) -> TrainingRun:
    """Add the dataset, its run and the event that asks for it, in the caller's transaction.

    Raises `TooMany` when the company has too many open trainings.
    """
    require_place(session, TRAINING, company_id)
    dataset = _new_dataset(session, company_id, data)
    run = train_on(session, dataset, config, use_qlora, seed, source)
    add_event(session, run, "requested", f"training on {data.examples} examples requested")
    return run


def train_on(
    session: Session,
    dataset: Dataset,
    config: Mapping[str, Any] | None = None,
    use_qlora: bool = True,
    seed: int | None = None,
    source: str = "api",
) -> TrainingRun:
    """Add a run on a dataset that is there, and the event that asks for it.

    Raises `TooMany` when the company has too many open trainings.
    """
    require_place(session, TRAINING, dataset.company_id)
    run = _new_run(dataset, config, use_qlora, seed, source)
    session.add(run)
    session.flush()
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
        },
        correlation_id=run.request_id,
        event_id=run.request_id,
    )
    return run


def accept_from_stream(
    session: Session, wanted: TrainingRequested, correlation_id: str | None = None
) -> TrainingRun:
    """Queue the run of an outside publisher's event with inline data. Raises `UserError`."""
    lines = wanted.training_data or []
    if wanted.seed is not None and not 0 <= wanted.seed <= MAX_SEED:
        raise UserError("invalid_seed", f"seed: must be from 0 to {MAX_SEED}", "seed")
    check_request(lines, wanted.config, wanted.base_model)
    # Before the company is locked, or whoever admits its rows would wait for the store too.
    data = store(lines)
    require_place(session, TRAINING, wanted.company_id)
    dataset = _new_dataset(session, wanted.company_id, data)
    run = _new_run(dataset, wanted.config, wanted.use_qlora, wanted.seed, "stream")
    run.request_id = wanted.request_id
    run.correlation_id = correlation_id or wanted.request_id
    run.status = "queued"
    run.queued_at = datetime.now(UTC)
    session.add(run)
    session.flush()
    add_event(session, run, "requested", f"training on {len(lines)} examples requested by event")
    return run


def _new_dataset(session: Session, company_id: str, data: StoredLines) -> Dataset:
    dataset = Dataset(dataset_id=new_id(), company_id=company_id, **asdict(data))
    session.add(dataset)
    session.flush()
    return dataset


def _new_run(
    dataset: Dataset,
    config: Mapping[str, Any] | None,
    use_qlora: bool,
    seed: int | None,
    source: str,
) -> TrainingRun:
    request_id = new_id()
    return TrainingRun(
        request_id=request_id,
        company_id=dataset.company_id,
        dataset_id=dataset.dataset_id,
        base_model=served_name(),
        base_model_revision=get_settings().base_model_revision,
        config=check_config(config or {}),
        use_qlora=use_qlora,
        seed=secrets.randbelow(MAX_SEED) if seed is None else seed,
        source=source,
        correlation_id=request_id,
        status="requested",
        step=TRAINING.steps[0],
    )


def add_event(
    session: Session,
    run: TrainingRun,
    kind: str,
    message: str,
    data: Mapping[str, Any] | None = None,
    level: str = "info",
) -> None:
    """Append to what people see of a run."""
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
    return {
        "request_id": run.request_id,
        "company_id": run.company_id,
        "status": run.status,
        "step": run.step if run.status not in TRAINING.terminal else None,
        "position": position_of(session, run),
        "dataset_id": run.dataset_id,
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
