"""What answers hold: the documented shapes. A test holds every answer against them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from web.shapes.requests import AdapterStatus, JobStatus, TrainingStatus

MOMENT = ["2026-01-31T12:00:00+00:00"]


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorShape(Answer):
    message: str = Field(description="What is wrong, for a person.")
    type: str = Field(description="The kind of error.", examples=["invalid_request_error"])
    param: str | None = Field(
        description="The field that is wrong.", examples=["training_data[3].output"]
    )
    code: str = Field(description="What is wrong, for a program.", examples=["invalid_request"])
    details: Any = Field(None, description="All findings, where there are several.")


class Error(Answer):
    """Every error, of every route."""

    error: ErrorShape


class Step(Answer):
    number: int
    kind: str = Field(description="`call` of a tool, or `answer`.")
    text: str
    finish_reason: str
    confidence: float | None = Field(description="Mean probability of the turn's tokens.")
    prompt_tokens: int
    completion_tokens: int
    tool: str | None = None
    arguments: dict[str, Any] | None = None
    call_id: str | None = None


class Job(Answer):
    job_id: str
    company_id: str
    status: JobStatus
    task_type: str
    data: Any
    result: Any = None
    tool_results: list[Any]
    confidence: float | None = Field(description="Mean probability of the answer's tokens.")
    usage: dict[str, Any] | None
    use_adapter: bool
    adapter_id: str | None = Field(description="The adapter that answered; null: the base model.")
    adapter_sha256: str | None
    adapter_used: bool | None
    note: str | None
    error: dict[str, Any] | None = Field(description="Why it failed.")
    attempt: int
    cancel_requested: bool
    metadata: dict[str, Any]
    agent_id: str | None = Field(description="The agent at work; null: the model alone answered.")
    choices: list[str] | None = Field(description="What the answer was held to.")
    steps: list[Step] = Field(description="The model's turns.")
    created_at: str = Field(examples=MOMENT)
    started_at: str | None
    completed_at: str | None
    payload_removed_at: str | None = Field(
        description="When data, result and steps were deleted for their age."
    )
    location: str = Field(description="Where to look at this job.")


class Jobs(Answer):
    jobs: list[Job]
    next_after: str | None = Field(description="Send as `after` for the next page; null: the end.")


class TrainingLinks(Answer):
    self: str
    events: str
    checkpoints: str
    cancel: str


class TrainingRequested(Answer):
    request_id: str
    status: str = Field(examples=["requested"])
    message: str
    company_id: str
    links: TrainingLinks


class Training(Answer):
    request_id: str
    company_id: str
    status: TrainingStatus
    step: str | None
    position: int | None = Field(
        description="Trainings that come before this one; companies take turns."
    )
    dataset_id: str
    base_model: str
    config: dict[str, Any]
    use_qlora: bool
    seed: int
    attempt: int
    cancel_requested: bool
    progress: dict[str, Any]
    metrics: dict[str, Any]
    evaluation: dict[str, Any] | None
    adapter_id: str | None
    adapter_status: AdapterStatus | None
    error: dict[str, Any] | None
    created_at: str = Field(examples=MOMENT)
    started_at: str | None
    finished_at: str | None
    links: TrainingLinks


class Trainings(Answer):
    training: list[Training]
    next_after: str | None


class TrainingEvent(Answer):
    id: int
    type: str
    level: str
    message: str
    data: dict[str, Any]
    created_at: str


class TrainingEvents(Answer):
    request_id: str
    events: list[TrainingEvent]
    next_after: int = Field(description="Send as `after` for what comes next.")


class Checkpoint(Answer):
    checkpoint_id: str
    request_id: str
    step: int = Field(description="Optimiser steps done.")
    attempt: int = Field(description="The attempt that made it.")
    sha256: str
    size_bytes: int
    metrics: dict[str, Any]
    created_at: str


class Checkpoints(Answer):
    request_id: str
    checkpoints: list[Checkpoint]


class Adapter(Answer):
    adapter_id: str
    company_id: str
    version: int
    base_model: str
    base_model_revision: str
    adapter_type: str
    status: AdapterStatus
    champion: bool = Field(description="Whether it answers for its company.")
    sha256: str | None
    request_id: str | None
    config: dict[str, Any]
    metadata: dict[str, Any]
    evaluation: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: str
    updated_at: str


class ResidentAdapter(Adapter):
    resident: list[str] = Field(description="The live workers that hold it in memory.")


class Adapters(Answer):
    adapters: list[Adapter]
    next_after: str | None


class Company(Answer):
    company_id: str
    name: str
    context: dict[str, Any]
    created_at: str


class Companies(Answer):
    companies: list[Company]
    next_after: str | None


class Agent(Answer):
    agent_id: str
    company_id: str
    name: str
    default: bool = Field(description="Whether it does the jobs that name no agent.")
    prompt: str
    tools: list[str]
    limits: dict[str, int]
    effective_limits: dict[str, float] = Field(description="With the defaults filled in.")
    created_at: str = Field(examples=MOMENT)
    updated_at: str


class Agents(Answer):
    agents: list[Agent]


class AgentDeleted(Answer):
    agent_id: str
    deleted: bool


class IssuedKey(Answer):
    prefix: str
    name: str
    company_id: str
    api_key: str | None = Field(description="The key. Shown in this answer only; null in a replay.")
    message: str


class CompanyCreated(Company):
    api_key: str | None = Field(description="The first key. Shown in this answer only.")
    api_key_prefix: str
    message: str


class Key(Answer):
    prefix: str
    name: str
    company_id: str
    created_at: str
    revoked_at: str | None


class Keys(Answer):
    api_keys: list[Key]


class KeyRevoked(Answer):
    prefix: str
    revoked: bool


class Health(Answer):
    status: str


class Queue(Answer):
    status: str = Field(
        description="`ok`: a canary task came through of late. `busy`: all hands are full. "
        "`starting`. `stuck`: its workers take nothing. `down`: it has none.",
        examples=["ok"],
    )
    workers: int = Field(description="Live processes that take from it.")
    canary_seconds: float | None = Field(description="Since the last canary; null: none yet.")


class Readiness(Answer):
    status: str = Field(
        description="`ready`; `degraded`: what is asked for is kept, but some queue is not worked "
        "on; `unavailable`.",
        examples=["ready"],
    )
    queues: dict[str, Queue] | None = Field(description="Whether each queue is worked on.")
    down: list[str] = Field(description="The parts that do not answer.")
    database: str
    redis: str
    workers: dict[str, int] | None = Field(description="Live workers of each queue.")
