"""What `/operations` takes and answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from database.transitions import MACHINES
from synapse.streams import CONSUMED
from web.shapes.answers import MOMENT, Answer
from web.shapes.requests import CompanyId, Page, Parameters, RowId

# Of dead letters.
KINDS = (*MACHINES, *CONSUMED)


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return kind


Kind = Annotated[
    str,
    AfterValidator(_known),
    Field(description="Of a row, or the name of a stream.", json_schema_extra={"enum": [*KINDS]}),
]


class DeadLetterQuery(Page):
    kind: Kind | None = None
    company_id: Annotated[CompanyId | None, Field(description="Only this company's.")] = None
    replayed: bool | None = Field(None, description="Only those replayed, or not replayed yet.")


class DeadLetterPath(Parameters):
    id: RowId


class DeadLetter(Answer):
    id: str
    kind: str = Field(description="The kind of row, or the stream of an event.")
    reference: str = Field(description="The id of the row or of the event.")
    company_id: str | None
    reason: str = Field(description="Why it was given up.")
    payload: dict[str, Any] = Field(description="The step of a row; the fields of an event.")
    history: list[dict[str, Any]] = Field(description="What was tried, and replays.")
    created_at: str = Field(examples=MOMENT)
    replayed_at: str | None


class DeadLetters(Answer):
    dead_letters: list[DeadLetter]
    next_after: str | None


class QueueState(Answer):
    name: str
    depth: int | None = Field(description="Messages that no worker has taken; null: no answer.")
    oldest_seconds: float | None = Field(description="Since the oldest of them was sent.")
    workers: int = Field(description="Live processes that take from it.")
    canary_seconds: float | None = Field(
        description="Since a worker last ran a canary task from it; null: never."
    )
    status: str = Field(description="`ok`, `busy`, `stuck` or `down`.", examples=["ok"])


class GroupState(Answer):
    name: str
    consumers: int
    pending: int = Field(description="Delivered and not acknowledged.")
    lag: int | None = Field(description="Not delivered yet; null: Redis cannot tell.")
    oldest_pending_seconds: float | None


class StreamState(Answer):
    name: str
    length: int | None = Field(description="null: no answer.")
    groups: list[GroupState]


class HeldLease(Answer):
    kind: str
    id: str
    company_id: str
    step: str | None
    attempt: int
    seconds: float = Field(description="Since its row last changed.")


class WorkerState(Answer):
    worker_id: str
    node: str
    queues: list[str]
    host: str
    pid: int
    started_at: str
    heartbeat_seconds: float = Field(description="Since its last sign of life.")
    alive: bool
    holds: int = Field(description="Leases in all.")
    leases: list[HeldLease] = Field(description="The first of them.")
    details: dict[str, Any]


class OutboxState(Answer):
    unpublished: int
    oldest_seconds: float | None


class LeaseState(Answer):
    held: int
    orphaned: int = Field(description="Whose owner shows no sign of life.")


class Overview(Answer):
    queues: list[QueueState]
    streams: list[StreamState]
    workers: list[WorkerState]
    leases: dict[str, LeaseState] = Field(description="By kind of row.")
    outbox: OutboxState
    dead_letters: dict[str, int] = Field(description="Not replayed, by kind.")
    rows: dict[str, dict[str, int]] = Field(description="How many are in each state, by kind.")
    at: str = Field(examples=MOMENT)
