"""Requests and answers about jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from cyrex.jobs.new_job import DEFAULT_TASK_TYPE, MAX_CHOICES, TASK_TYPE
from web.shapes.common import (
    MOMENT,
    AnswerBody,
    CompanyPage,
    OwnCompanyId,
    Parameters,
    RequestBody,
    RowId,
)

MAX_WAIT_SECONDS = 300.0
JobStatus = Literal["queued", "admitted", "running", "waiting", "completed", "failed", "cancelled"]


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null")
    return value


# Null is refused first: pydantic would report it once for each type of the union.
JobData = Annotated[
    dict[str, Any] | list[Any] | str | int | float | bool,
    BeforeValidator(_not_null),
    Field(
        description="The data to process. In a form of training data without its answer "
        "(`{input}`, `{prompt}`, `{instruction, input}`, `{messages, tools}` and so on) it asks "
        "what the training line asked."
    ),
]


class ProcessRequest(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "company_id": "acme",
                "data": {"input": "Analyze Q4 sales"},
                "task_type": "automation",
                "use_adapter": True,
                "wait": 30,
            }
        }
    )

    company_id: OwnCompanyId = None
    data: JobData
    task_type: str = Field(DEFAULT_TASK_TYPE, pattern=TASK_TYPE)
    use_adapter: bool = Field(
        True, description="False: the base model answers, without an adapter."
    )
    wait: float | None = Field(
        None,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for the job's end before answering 202; default WAIT_SECONDS.",
    )
    metadata: dict[str, Any] | None = Field(None, description="Stored with the job.")
    agent_id: RowId | None = Field(None, description="Default: the company's default agent.")
    choices: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MAX_CHOICES,
        description="The answer will be exactly one of these, e.g. the labels of a classification.",
    )


class JobPath(Parameters):
    job_id: RowId


class JobQuery(CompanyPage):
    status: JobStatus | None = None


class StepView(AnswerBody):
    number: int
    kind: str = Field(description="`call` (of a tool) or `answer`.")
    text: str
    finish_reason: str
    confidence: float | None = Field(description="Mean probability of the turn's tokens.")
    prompt_tokens: int
    completion_tokens: int
    tool: str | None = None
    arguments: dict[str, Any] | None = None
    call_id: str | None = None


class JobView(AnswerBody):
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
    error: dict[str, Any] | None = Field(description="The reason of a failure.")
    attempt: int
    cancel_requested: bool
    metadata: dict[str, Any]
    agent_id: str | None = Field(
        description="The job's agent; null: the model answered without one."
    )
    choices: list[str] | None = Field(description="The answers that were allowed.")
    steps: list[StepView] = Field(description="The model's turns.")
    created_at: str = Field(examples=MOMENT)
    started_at: str | None
    completed_at: str | None
    payload_removed_at: str | None = Field(
        description="When data, result and steps were deleted because of their age."
    )
    location: str = Field(description="The address of this job.")


class Jobs(AnswerBody):
    jobs: list[JobView]
    next_after: str | None = Field(description="Send as `after` for the next page; null: the end.")
