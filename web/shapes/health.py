"""Requests and answers of the probes."""

from __future__ import annotations

from pydantic import Field

from web.shapes.common import AnswerBody, Parameters


class ReadinessQuery(Parameters):
    strict: bool = Field(False, description="503 also while some queue is not worked on.")


class Health(AnswerBody):
    status: str


class QueueReadiness(AnswerBody):
    status: str = Field(
        description="`ok`: a canary task came through of late. `busy`: all hands are full. "
        "`starting`. `stuck`: its workers take nothing. `down`: it has none.",
        examples=["ok"],
    )
    workers: int = Field(description="Live processes that take from it.")
    canary_seconds: float | None = Field(description="Since the last canary; null: none yet.")


class Readiness(AnswerBody):
    status: str = Field(
        description="`ready`; `degraded`: what is asked for is kept, but some queue is not worked "
        "on; `unavailable`.",
        examples=["ready"],
    )
    queues: dict[str, QueueReadiness] | None = Field(description="Whether each queue is worked on.")
    down: list[str] = Field(description="The parts that do not answer.")
    database: str
    redis: str
    workers: dict[str, int] | None = Field(description="Live workers of each queue.")
