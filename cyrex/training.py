"""Training runs as their company sees them: ask for one, follow it, cancel it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from cyrex.base_model import name_of, served_name
from cyrex.errors import Conflict, NotFound, UserError
from database import claims
from database.base import new_id, storable
from database.models import Dataset, LoraAdapter, TrainingEvent, TrainingRun
from database.transitions import TRAINING
from helox.check import check_lines
from helox.spec import TrainingConfig, problems_of
from modelkit.blobs import BlobStore
from settings import get_settings
from synapse.outbox import announce
from synapse.payloads import TRAINING_REQUESTED, TrainingRequested
from synapse.streams import LORA_TRAINING_REQUESTS

MAX_SEED = 2**31 - 1
SHOWN_LINES = 20
# The settings of the original trainer that mean the same here under another name.
GUIDE_NAMES = {"rank": "lora_rank", "alpha": "lora_alpha", "dropout": "lora_dropout"}


@lru_cache(maxsize=1)
def blob_store() -> BlobStore:
    return BlobStore(get_settings().blob_dir)


def check_request(
    lines: Sequence[Any], config: Mapping[str, Any] | None, base_model: str | None = None
) -> None:
    """Refuse what could not be trained. Raises `UserError`, which names the field and the limit."""
    settings = get_settings()
    if base_model is not None and name_of(base_model) != served_name():
        raise UserError(
            "unknown_base_model",
            f"base_model: {base_model!r} is not served here; leave it out for the one that is",
            param="base_model",
        )
    _check_config(config or {})
    if not lines:
        raise UserError("no_examples", "training_data: must hold an example", "training_data")
    if len(lines) > settings.max_training_examples:
        raise UserError(
            "too_many_examples",
            f"training_data: {len(lines)} examples, the limit is {settings.max_training_examples}",
            param="training_data",
        )
    _check_values(lines)
    problems = check_lines(lines).problems
    if problems:
        first = problems[0]
        place = f"training_data[{(first.line or 1) - 1}]"
        if first.field and first.field != "line":
            place = f"{place}.{first.field}"
        raise UserError(
            "invalid_training_data",
            f"{place}: {first.message} (line {first.line}; {len(problems)} bad lines in all)",
            param=place,
            details=[problem.to_json() for problem in problems[:SHOWN_LINES]],
        )


def _check_values(lines: Sequence[Any]) -> None:
    """Each example is a JSON object that can be written down."""
    for number, line in enumerate(lines, 1):
        place = f"training_data[{number - 1}]"
        if not isinstance(line, Mapping):
            message = f"{place}: must be an object (line {number})"
            raise UserError("invalid_training_data", message, place)
        try:
            _jsonl(line)
        except (ValueError, TypeError) as error:
            message = f"{place}: cannot be written as JSON in UTF-8 (line {number}): {error}"
            raise UserError("invalid_training_data", message, place) from None


def _jsonl(line: Any) -> bytes:
    return (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under our names. Raises `UserError` with the name that the caller used."""
    asked = {GUIDE_NAMES.get(key, key): key for key in config}
    if len(asked) < len(config):
        twice = next(key for key in config if asked[GUIDE_NAMES.get(key, key)] != key)
        other = asked[GUIDE_NAMES.get(twice, twice)]
        message = f"config.{twice}: is the same setting as {other}"
        raise UserError("invalid_config", message, f"config.{twice}")
    named = {GUIDE_NAMES.get(key, key): value for key, value in config.items()}
    try:
        TrainingConfig.model_validate(named)
    except ValidationError as error:
        problems = [
            replace(problem, field=asked.get(str(problem.field), problem.field))
            for problem in problems_of(error)
        ]
        field = f"config.{problems[0].field}" if problems[0].field else "config"
        raise UserError(
            "invalid_config",
            f"{field}: {problems[0].message}",
            param=field,
            details=[problem.to_json() for problem in problems],
        ) from None
    return named


def request_training(
    session: Session,
    company_id: str,
    lines: Sequence[Any],
    config: Mapping[str, Any] | None = None,
    use_qlora: bool = True,
    seed: int | None = None,
    source: str = "api",
) -> TrainingRun:
    """Store the data, then the run and the event that asks for it, in the caller's transaction."""
    run = _new_run(session, company_id, lines, config, use_qlora, seed, source)
    session.add(run)
    session.flush()
    announce(
        session,
        LORA_TRAINING_REQUESTS,
        TRAINING_REQUESTED,
        company_id,
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
    add_event(session, run, "requested", f"training on {len(lines)} examples requested")
    return run


def accept_from_stream(
    session: Session, wanted: TrainingRequested, correlation_id: str | None = None
) -> TrainingRun:
    """Queue the run of an outside publisher's event with inline data. Raises `UserError`."""
    lines = wanted.training_data or []
    if wanted.seed is not None and not 0 <= wanted.seed <= MAX_SEED:
        raise UserError("invalid_seed", f"seed: must be from 0 to {MAX_SEED}", "seed")
    check_request(lines, wanted.config, wanted.base_model)
    run = _new_run(
        session,
        wanted.company_id,
        lines,
        wanted.config,
        wanted.use_qlora,
        wanted.seed,
        "stream",
    )
    run.request_id = wanted.request_id
    run.correlation_id = correlation_id or wanted.request_id
    run.status = "queued"
    run.queued_at = datetime.now(UTC)
    session.add(run)
    session.flush()
    add_event(session, run, "requested", f"training on {len(lines)} examples requested by event")
    return run


def _new_run(
    session: Session,
    company_id: str,
    lines: Sequence[Any],
    config: Mapping[str, Any] | None,
    use_qlora: bool,
    seed: int | None,
    source: str,
) -> TrainingRun:
    body = b"".join(map(_jsonl, lines))
    dataset = Dataset(
        dataset_id=new_id(),
        company_id=company_id,
        sha256=blob_store().put_bytes(body),
        size_bytes=len(body),
        examples=len(lines),
    )
    session.add(dataset)
    session.flush()
    settings = get_settings()
    request_id = new_id()
    return TrainingRun(
        request_id=request_id,
        company_id=company_id,
        dataset_id=dataset.dataset_id,
        base_model=served_name(),
        base_model_revision=settings.base_model_revision,
        config=_check_config(config or {}),
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
