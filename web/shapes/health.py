"""Requests and answers of the probes."""

from __future__ import annotations

from pydantic import Field

from web.shapes.common import AnswerBody, Parameters


class ReadinessQuery(Parameters):
    strict: bool = Field(False, description="Answer 503 also while some queue is not served.")


class Health(AnswerBody):
    status: str


class QueueReadiness(AnswerBody):
    status: str = Field(
        description="`ok`: a canary task ran recently. `busy`: all its workers are busy. "
        "`starting`: its workers have just started. `stuck`: its workers take nothing. "
        "`down`: it has no workers.",
        examples=["ok"],
    )
    workers: int = Field(description="Live processes that consume the queue.")
    canary_seconds: float | None = Field(
        description="Seconds since the last canary task; null: none yet."
    )


class Readiness(AnswerBody):
    status: str = Field(
        description="`ready`; `degraded`: requests are kept, but some queue is not served; "
        "`unavailable`.",
        examples=["ready"],
    )
    queues: dict[str, QueueReadiness] | None = Field(description="Whether each queue is served.")
    down: list[str] = Field(
        description="Parts that do not answer and, with `strict`, queues that are not served."
    )
    database: str
    redis: str
    workers: dict[str, int] | None = Field(description="Number of live workers of each queue.")
