"""Requests and answers of `/operations`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from database.transitions import MACHINES
from synapse.streams import CONSUMED
from web.shapes.common import MOMENT, AnswerBody, CompanyId, Page, Parameters, RowId

# The kinds of dead letters.
KINDS = (*MACHINES, *CONSUMED)


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return kind


Kind = Annotated[
    str,
    AfterValidator(_known),
    Field(
        description="A kind of row, or the name of a stream.", json_schema_extra={"enum": [*KINDS]}
    ),
]


class DeadLetterQuery(Page):
    kind: Kind | None = None
    company_id: Annotated[
        CompanyId | None, Field(description="Show only this company's dead letters.")
    ] = None
    replayed: bool | None = Field(
        None, description="True: only replayed dead letters; false: only the others."
    )


class DeadLetterPath(Parameters):
    id: RowId


class DeadLetterView(AnswerBody):
    id: str
    kind: str = Field(description="The kind of row, or the stream of an event.")
    reference: str = Field(description="The id of the row or of the event.")
    company_id: str | None
    reason: str = Field(description="Why the row or event was given up.")
    payload: dict[str, Any] = Field(description="The step of the row, or the fields of the event.")
    history: list[dict[str, Any]] = Field(description="Earlier attempts and replays.")
    created_at: str = Field(examples=MOMENT)
    replayed_at: str | None


class DeadLetters(AnswerBody):
    dead_letters: list[DeadLetterView]
    next_after: str | None


class QueueView(AnswerBody):
    name: str
    depth: int | None = Field(
        description="Messages that no worker has taken; null: Redis does not answer."
    )
    oldest_seconds: float | None = Field(
        description="Seconds since the oldest of these messages was sent."
    )
    workers: int = Field(description="Live processes that consume the queue.")
    canary_seconds: float | None = Field(
        description="Seconds since a worker last ran a canary task from the queue; null: never."
    )
    status: str = Field(description="`ok`, `busy`, `stuck` or `down`.", examples=["ok"])


class GroupState(AnswerBody):
    name: str
    consumers: int
    pending: int = Field(description="Entries that are delivered and not acknowledged.")
    lag: int | None = Field(
        description="Entries that are not delivered yet; null: Redis cannot tell."
    )
    oldest_pending_seconds: float | None


class StreamState(AnswerBody):
    name: str
    length: int | None = Field(description="Entries in the stream; null: Redis does not answer.")
    groups: list[GroupState]


class HeldLease(AnswerBody):
    kind: str
    id: str
    company_id: str
    step: str | None
    attempt: int
    seconds: float = Field(description="Seconds since the row last changed.")


class WorkerState(AnswerBody):
    worker_id: str
    node: str
    queues: list[str]
    host: str
    pid: int
    started_at: str
    heartbeat_seconds: float = Field(description="Seconds since the last heartbeat.")
    alive: bool
    holds: int = Field(description="Number of leases that the worker holds.")
    leases: list[HeldLease] = Field(description="The first of these leases.")
    details: dict[str, Any]


class OutboxState(AnswerBody):
    unpublished: int
    oldest_seconds: float | None


class LeaseState(AnswerBody):
    held: int
    orphaned: int = Field(description="Leases whose owner sends no heartbeat.")


class Overview(AnswerBody):
    queues: list[QueueView]
    streams: list[StreamState]
    workers: list[WorkerState]
    leases: dict[str, LeaseState] = Field(description="Leases by kind of row.")
    outbox: OutboxState
    dead_letters: dict[str, int] = Field(description="Dead letters that are not replayed, by kind.")
    rows: dict[str, dict[str, int]] = Field(description="Number of rows in each state, by kind.")
    at: str = Field(examples=MOMENT)
