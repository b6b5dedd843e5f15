"""Requests and answers about trainings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from cyrex.adapters.gate import Promote
from cyrex.training.order import MAX_SEED
from web.shapes.adapters import AdapterStatus
from web.shapes.common import (
    MOMENT,
    AnswerBody,
    CompanyPage,
    OwnCompanyId,
    Parameters,
    RequestBody,
    RowId,
)

TrainingStatus = Literal[
    "requested", "queued", "admitted", "running", "succeeded", "failed", "cancelled"
]


# Rows are counted where their sender looks.
COUNTS = (
    "Rows: `rows`, `examples`, by `forms`; `held_out` (null until the rows are split together with "
    "those from before), `validation`, `dropped`, `cut` (null until the tokens are "
    "counted), `duplicates`, `contradictions`, with `control_tokens` taken out, `warnings`, and "
    "`ignored_fields` that are not read."
)


SPLIT = (
    "Once accepted, what became of the rows: `sent`, `from_before`, `replaced` (answered anew), "
    "`trained`, `held_out`, `asked_by_validation` and `validation_seen_before` (left out)."
)
Version = Annotated[int, Field(ge=1, lt=10**9)]


class TrainAdapter(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "company_id": "acme",
                "training_data": [
                    {"input": "Analyze Q4 sales", "output": "Sales increased 15%"},
                    {"input": "Process invoices", "output": "Processed 500 invoices"},
                ],
                "config": {"lora_rank": 16, "num_epochs": 3},
                "use_qlora": True,
            }
        }
    )

    company_id: OwnCompanyId = None
    training_data: list[dict[str, Any]] = Field(
        min_length=1,
        description="Examples, each `{input, output}`, `{prompt, completion}`, "
        "`{question, answer}`, `{instruction, input?, output}`, `{messages, tools?}` or "
        "`{conversations}`; any but the chats may have `system` and `history`.",
    )
    config: dict[str, Any] | None = Field(
        None,
        description="Settings of the trainer, e.g. `lora_rank`, `num_epochs`, `copy_variation`.",
    )
    use_qlora: bool | None = Field(
        None,
        description="Train on the base model quantised to 4 bits. Left out: as it is served.",
    )
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Drawn at random when left out.")
    base_model: str | None = Field(
        None, max_length=4096, description="Must be the base model that is served."
    )
    validation_data: list[dict[str, Any]] | None = Field(
        None,
        min_length=1,
        description="Examples to evaluate on, in the same forms; of the others none is held out.",
    )
    replace: bool = Field(
        False, description="Train on these rows alone, without those that were sent before."
    )
    promote: Promote = Field(
        "evidence",
        description="`always`: the adapter serves whatever the evaluation says, unless a pinned "
        "champion stays.",
    )
    continue_from: RowId | Version | None = Field(
        None,
        description="The id or version of an adapter of the company to start from. Its rank, alpha "
        "and layers are this training's too.",
    )


class TrainingPath(Parameters):
    request_id: RowId


class TrainingQuery(CompanyPage):
    status: TrainingStatus | None = None


class EventQuery(Parameters):
    after: int = Field(0, ge=0, lt=2**63, description="Show events after this id.")
    limit: int = Field(100, ge=1, le=1000)


class TrainingLinks(AnswerBody):
    self: str
    events: str
    checkpoints: str
    cancel: str


class TrainingAccepted(AnswerBody):
    request_id: str
    status: str = Field(examples=["requested"])
    message: str
    company_id: str
    counts: dict[str, Any] | None = Field(description=COUNTS)
    links: TrainingLinks


class TrainingView(AnswerBody):
    request_id: str
    company_id: str
    status: TrainingStatus
    step: str | None
    position: int | None = Field(description="Trainings ahead of this one; companies take turns.")
    dataset_id: str
    counts: dict[str, Any] | None = Field(description=COUNTS)
    split: dict[str, int] | None = Field(description=SPLIT)
    replace: bool = Field(description="Whether earlier rows are left out.")
    continue_from: str | None = Field(description="The id of the adapter that it started from.")
    promote: Promote
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


class Trainings(AnswerBody):
    training: list[TrainingView]
    next_after: str | None


class TrainingEventView(AnswerBody):
    id: int
    type: str
    level: str
    message: str
    data: dict[str, Any]
    created_at: str


class TrainingEvents(AnswerBody):
    request_id: str
    events: list[TrainingEventView]
    next_after: int = Field(description="Send as `after` to get the events that follow.")


class CheckpointView(AnswerBody):
    checkpoint_id: str
    request_id: str
    step: int = Field(description="Optimiser steps done.")
    attempt: int = Field(description="The attempt that wrote the checkpoint.")
    sha256: str
    size_bytes: int
    metrics: dict[str, Any]
    created_at: str


class Checkpoints(AnswerBody):
    request_id: str
    checkpoints: list[CheckpointView]
