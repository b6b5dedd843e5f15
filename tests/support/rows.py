"""Rows for tests: companies and what belongs to them, as the product writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import insert, inspect, select, update

from cyrex import datasets
from cyrex.adapters.service import next_version
from cyrex.jobs import service as jobs
from cyrex.jobs.new_job import NewJob
from cyrex.training import service as training
from cyrex.training.order import TrainingOrder
from cyrex.work.lease import Advance, Lease
from database.base import new_id
from database.models import (
    Base,
    Company,
    DeadLetter,
    Job,
    LoraAdapter,
    Outbox,
    ToolCall,
    TrainingEvent,
    TrainingRun,
    Worker,
)
from database.session import company_session, operator_session
from database.transitions import ADAPTER, JOB, TOOL_CALL, TRAINING, Machine
from settings import get_settings
from synapse.streams import COMPANY_AUTOMATION_JOBS

LINES = [{"input": f"question {n}", "output": f"answer {n}"} for n in range(12)]
_numbers = count(1)


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def company(name: str = "acme") -> str:
    """A new company; returns its id."""
    company_id = f"{name}-{next(_numbers)}"
    with operator_session() as session:
        session.add(Company(company_id=company_id, name=name))
    return company_id


def job(company_id: str, data: Any = None, **values: Any) -> str:
    """A queued job; `values` are then written over it, whatever state they make."""
    with company_session(company_id) as session:
        row = jobs.create_job(session, NewJob(company_id, data or {"input": "question 1"}))
    change(Job, row.job_id, **values)
    return row.job_id


def stored(lines: list[Any]) -> datasets.StoredLines:
    return datasets.store([datasets.jsonl(line) for line in lines])


def run(company_id: str, lines: list[Any] = LINES, **values: Any) -> str:
    """A requested training run with its event in the outbox; `values` are written over it."""
    with company_session(company_id) as session:
        order = TrainingOrder(company_id, seed=7)
        row = training.request_training(session, order, stored(lines))
    change(TrainingRun, row.request_id, **values)
    return row.request_id


def accepted(company_id: str, lines: list[Any] = LINES, **values: Any) -> str:
    """A run whose rows are checked and split, before its step `train`, as its worker leaves it."""
    # It loads a tokenizer, which most tests do without.
    from cyrex.training.steps import accept

    request_id = run(company_id, lines, **values)
    outcome = accept(
        get(TrainingRun, request_id), Lease(TRAINING, company_id, request_id, "accept", 1, "test")
    )
    assert isinstance(outcome, Advance)
    assert outcome.in_transaction is not None
    with company_session(company_id) as session:
        outcome.in_transaction(session, session.get_one(TrainingRun, request_id))
    change(TrainingRun, request_id, step="train")
    return request_id


def adapter(company_id: str, **values: Any) -> str:
    """A registered adapter of the base model that is served, with no package behind it."""
    settings = get_settings()
    with company_session(company_id) as session:
        row = LoraAdapter(
            adapter_id=new_id(),
            company_id=company_id,
            version=next_version(session, company_id),
            base_model=settings.base_model_path,
            base_model_revision=settings.base_model_revision,
            adapter_type="lora",
            status="registered",
        )
        session.add(row)
    change(LoraAdapter, row.adapter_id, **values)
    return row.adapter_id


def tool_call(company_id: str, **values: Any) -> str:
    """A queued call of a job; `values` are written over it."""
    row = ToolCall(
        call_id=new_id(),
        company_id=company_id,
        job_id=job(company_id, status="waiting"),
        tool_name="crm_lookup",
        arguments={},
        status="queued",
        step=TOOL_CALL.steps[0],
    )
    with company_session(company_id) as session:
        session.add(row)
    change(ToolCall, row.call_id, **values)
    return row.call_id


MAKERS = {
    JOB.kind: job,
    TRAINING.kind: run,
    ADAPTER.kind: adapter,
    TOOL_CALL.kind: tool_call,
}


def claimable(machine: Machine, company_id: str, **values: Any) -> str:
    """A row that a worker may claim, before the first step of its chain."""
    wanted = {"status": machine.claimable[0], "step": machine.steps[0], **values}
    return MAKERS[machine.kind](company_id, **wanted)


def worker(node: str = "", age_seconds: float = 0.0) -> str:
    """The row of a worker whose last heartbeat was so long ago; returns the worker's id."""
    worker_id = new_id()
    with operator_session() as session:
        session.add(
            Worker(
                worker_id=worker_id,
                node=node or worker_id,
                host="test",
                pid=1,
                heartbeat_at=ago(age_seconds),
            )
        )
    return worker_id


def get(model: type[Any], key: Any) -> Any:
    """The row as it is now, detached."""
    with operator_session() as session:
        return session.get_one(model, key)


def row_of(machine: Machine, key: str) -> Any:
    return get(machine.model, key)


def change(model: type[Any], key: str, **values: Any) -> None:
    """Write over a row, past every guard."""
    if values:
        (primary,) = inspect(model).primary_key
        with operator_session() as session:
            changed = session.execute(
                update(model).where(primary == key).values(**values).returning(primary)
            )
            assert changed.one()


def columns(row: Any) -> dict[str, Any]:
    """Every column of a row, to compare it with itself later."""
    return {item.key: getattr(row, item.key) for item in inspect(type(row)).column_attrs}


def dead_letters(reference: str) -> list[DeadLetter]:
    with operator_session() as session:
        return list(session.scalars(select(DeadLetter).where(DeadLetter.reference == reference)))


def events(request_id: str) -> list[str]:
    """The types of a run's events, in order."""
    with operator_session() as session:
        return list(
            session.scalars(
                select(TrainingEvent.type)
                .where(TrainingEvent.request_id == request_id)
                .order_by(TrainingEvent.id)
            )
        )


def announced(company_id: str, stream: str) -> list[dict[str, Any]]:
    """The envelopes of a company's events in the outbox, in order."""
    with operator_session() as session:
        return list(
            session.scalars(
                select(Outbox.envelope)
                .where(Outbox.company_id == company_id, Outbox.stream == stream)
                .order_by(Outbox.id)
            )
        )


def told(job_id: str) -> list[str]:
    """The statuses of a job that the outside was told of, in order."""
    envelopes = announced(get(Job, job_id).company_id, COMPANY_AUTOMATION_JOBS)
    return [e["data"]["status"] for e in envelopes if e["data"]["job_id"] == job_id]


def fill_every_table(company_id: str) -> dict[str, dict[str, Any]]:
    """One row of this company in every table that has companies; the rows by table name."""
    made: dict[str, dict[str, Any]] = {}
    with operator_session() as session:
        for table in Base.metadata.sorted_tables:
            owner = owner_column(table)
            if owner is not None:
                values = _minimal(table, company_id, made)
                row = session.execute(insert(table).values(values).returning(*table.columns)).one()
                made[table.name] = dict(row._mapping)
    return made


def owner_column(table: Any) -> Any:
    """The column that says whose a row is; None for a table that belongs to no company."""
    return next((table.c[name] for name in ("company_id", "owner") if name in table.c), None)


# Values that a CHECK constraint asks for.
CHECKED = {
    ("api_keys", "scope"): "company",
    ("examples", "split"): "train",
    ("lora_adapters", "adapter_type"): "lora",
    ("retraining_schedules", "cron"): "0 3 * * *",
    ("schedule_fires", "outcome"): "requested",
}


def _minimal(table: Any, company_id: str, made: dict[str, dict[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column in table.columns:
        known = (table.name, column.name)
        if column is owner_column(table):
            values[column.name] = company_id
        elif column.foreign_keys:
            (key,) = column.foreign_keys
            values[column.name] = made[key.column.table.name][key.column.name]
        elif known in CHECKED:
            values[column.name] = CHECKED[known]
        elif not (column.nullable or column.server_default or column.identity or column.computed):
            values[column.name] = _value(column)
    return values


def _value(column: Any) -> Any:
    python: type[Any] = column.type.python_type
    if python is str:
        return f"{column.name}-{next(_numbers)}"
    if python is datetime:
        return datetime.now(UTC)
    return python(next(_numbers)) if python in (int, float, bool) else {}
