"""The effects of events: the bridge mirrors each into rows and chains of tasks.

Each runs once an event, in the transaction of its inbox row; what it returns runs after the commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import structlog
from sqlalchemy import func
from sqlalchemy.orm import Session

from cyrex.adapters import steps as adapter_steps
from cyrex.adapters.service import champion_of
from cyrex.errors import UserError
from cyrex.jobs import service as jobs
from cyrex.jobs.new_job import NewJob
from cyrex.tenants.service import get_company
from cyrex.training import service as training
from database import claims
from database.models import Job, LoraAdapter, TrainingRun
from database.transitions import ADAPTER, TRAINING
from synapse.consumer import EventRefused
from synapse.envelope import Envelope
from synapse.outbox import announce
from synapse.payloads import (
    ADAPTER_READY,
    ADAPTER_REQUESTED,
    JOB_REQUESTED,
    MODEL_EVENT,
    ROW_ID,
    TRAINING_REQUESTED,
    AdapterReady,
    AdapterRequested,
    JobRequested,
    TrainingRequested,
)
from synapse.streams import MODEL_EVENTS
from tasks.broker.handover import Handover

log = structlog.get_logger()

AfterCommit = Callable[[], None]


def effect(session: Session, stream: str, envelope: Envelope) -> AfterCommit | None:
    """The effect of one event. Raises `EventRefused` for what can never have one."""
    handler = EFFECTS.get(envelope.type)
    if handler is None:
        return None
    try:
        if envelope.company_id is not None:
            _require_company(session, envelope.company_id)
        return handler(session, envelope)
    except UserError as error:
        raise EventRefused(error.message) from error


def _handover(session: Session) -> Handover:
    """What the broker is to hear after the commit of this batch; the first `give` gives it all."""
    handover: Handover = session.info.setdefault("handover", Handover())
    return handover


def _require_company(session: Session, company_id: str) -> None:
    """Raises `UserError` for a company that does not exist; asks once a batch."""
    # A session holds its rows weakly: whoever wants to find one again must hold it.
    known = session.info.setdefault("companies", {})
    if company_id not in known:
        known[company_id] = get_company(session, company_id)


def _forward(session: Session, envelope: Envelope, event: str, data: dict[str, object]) -> None:
    """ModelKit's stream hears of every training request and every ready adapter."""
    announce(
        session,
        MODEL_EVENTS,
        MODEL_EVENT,
        str(envelope.company_id),
        {"event": event, **data},
        correlation_id=envelope.correlation_id,
        event_id=f"{envelope.event_id}:model-event",
    )


def _training_requested(session: Session, envelope: Envelope) -> AfterCommit | None:
    payload = envelope.payload
    assert isinstance(payload, TrainingRequested)
    company_id = payload.company_id
    run = session.get(TrainingRun, payload.request_id)
    if run is not None and run.company_id != company_id:
        raise EventRefused(f"request_id: {payload.request_id!r} is another company's")
    if run is None:
        if payload.training_data is None:
            raise EventRefused("training_data: an event from outside must carry it")
        training.accept_from_stream(session, payload, envelope.correlation_id)
    elif not claims.move(session, TRAINING, payload.request_id, "queued", queued_at=func.now()):
        return None
    _forward(session, envelope, "lora-training-request", {"request_id": payload.request_id})
    handover = _handover(session)
    handover.companies.add(("training", company_id))
    return handover.give


def _adapter_ready(session: Session, envelope: Envelope) -> AfterCommit | None:
    payload = envelope.payload
    assert isinstance(payload, AdapterReady)
    # Announcements of earlier events of the batch are flushed together, at its end.
    with session.no_autoflush:
        row = adapter_steps.announced(session, payload)
    if row is None:
        return None
    _forward(
        session,
        envelope,
        "lora-adapter-ready",
        {
            "adapter_id": row.adapter_id,
            "model_path": row.registry_path or row.adapter_path,
            "sha256": row.sha256,
        },
    )
    handover = _handover(session)
    handover.rows.append((ADAPTER, row))
    return handover.give


def _adapter_requested(session: Session, envelope: Envelope) -> AfterCommit | None:
    payload = envelope.payload
    assert isinstance(payload, AdapterRequested)
    adapter_id = payload.adapter_id
    if adapter_id is not None:
        adapter = session.get(LoraAdapter, adapter_id)
        if adapter is None or adapter.company_id != payload.company_id:
            raise EventRefused(f"adapter_id: {payload.company_id} has no adapter {adapter_id!r}")
    else:
        champion = champion_of(session, payload.company_id)
        adapter_id = champion.adapter_id if champion else None
    if adapter_id is None:
        raise EventRefused(f"company {payload.company_id} has no adapter to load")
    handover = _handover(session)
    handover.adapters.add((payload.company_id, adapter_id))
    return handover.give


def _job_requested(session: Session, envelope: Envelope) -> AfterCommit | None:
    payload = envelope.payload
    assert isinstance(payload, JobRequested)
    job_id = payload.job_id or envelope.event_id
    if re.fullmatch(ROW_ID, job_id) is None:
        raise EventRefused(f"job_id: missing, and the event's own {job_id!r} cannot be a job's id")
    known = session.get(Job, job_id)
    if known is not None:
        if known.company_id != payload.company_id:
            raise EventRefused(f"job_id: {job_id!r} is taken")
        return None
    new = NewJob(
        payload.company_id,
        payload.data,
        payload.task_type,
        payload.use_adapter,
        payload.metadata,
        payload.agent_id,
        payload.choices,
        source="stream",
        job_id=job_id,
    )
    jobs.create_job(session, new)
    handover = _handover(session)
    handover.companies.add(("job", payload.company_id))
    return handover.give


EFFECTS: dict[str, Callable[[Session, Envelope], AfterCommit | None]] = {
    TRAINING_REQUESTED: _training_requested,
    ADAPTER_READY: _adapter_ready,
    ADAPTER_REQUESTED: _adapter_requested,
    JOB_REQUESTED: _job_requested,
}
