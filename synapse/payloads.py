"""The fields of an event's `data`, by type, and the types that belong on each stream.

Keys that a payload does not name are kept (`model_extra`): an outside program may say more.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from synapse.streams import (
    COMPANY_AUTOMATION_JOBS,
    LORA_ADAPTER_READY,
    LORA_ADAPTER_REQUESTS,
    LORA_TRAINING_REQUESTS,
    MODEL_EVENTS,
)

MAX_ID_CHARACTERS = 200

# Ids become keys, file names and parts of messages: no blank, no control character.
Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_ID_CHARACTERS, pattern=r"^[^\s\x00-\x1f\x7f]+$"),
]
# An id that becomes a row's: the API shows it, and a step's folder has it as its name.
ROW_ID = r"^[A-Za-z0-9._:-]{1,128}$"
RowId = Annotated[str, StringConstraints(pattern=ROW_ID)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Payload(BaseModel):
    """`company_id` is the envelope's, also where the data does not repeat it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    company_id: Id | None = None


class TrainingRequested(Payload):
    """Train an adapter on a stored dataset (`dataset_id`) or on lines sent along."""

    request_id: RowId
    company_id: Id
    dataset_id: Id | None = None
    training_data: list[Any] | None = None
    base_model: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    use_qlora: bool | None = None
    seed: int | None = None
    # Beside `training_data`.
    validation_data: list[Any] | None = None
    replace: bool = False
    promote: Literal["evidence", "always"] = "evidence"
    continue_from: Id | int | None = None

    @model_validator(mode="after")
    def _has_data(self) -> TrainingRequested:
        if (self.dataset_id is None) == (self.training_data is None):
            raise ValueError("exactly one of dataset_id and training_data is needed")
        return self


class AdapterReady(Payload):
    """An adapter is trained and stored; without a path it is one that the platform registered."""

    adapter_id: RowId
    company_id: Id
    request_id: Id | None = None
    adapter_path: str | None = None
    registry_path: str | None = None
    sha256: Sha256 | None = None
    version: int | None = None
    base_model: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class AdapterRequested(Payload):
    """Load an adapter; without `adapter_id`, the company's champion."""

    request_id: Id
    company_id: Id
    adapter_id: Id | None = None


class JobRequested(Payload):
    company_id: Id
    data: Any
    job_id: RowId | None = None
    request_id: Id | None = None
    task_type: str = "automation"
    use_adapter: bool = True
    agent_id: Id | None = None
    choices: list[str] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class JobUpdated(Payload):
    job_id: Id
    company_id: Id
    status: Annotated[str, StringConstraints(min_length=1)]


class ModelEvent(Payload):
    """ModelKit's news, for example `{event: "lora-adapter-ready", adapter_id, model_path}`."""

    event: Annotated[str, StringConstraints(min_length=1)]
    adapter_id: Id | None = None
    request_id: Id | None = None
    model_path: str | None = None


TRAINING_REQUESTED: Final = "training.requested"
ADAPTER_READY: Final = "adapter.ready"
ADAPTER_REQUESTED: Final = "adapter.requested"
JOB_REQUESTED: Final = "job.requested"
JOB_UPDATED: Final = "job.updated"
MODEL_EVENT: Final = "model.event"

PAYLOADS: Final[dict[str, type[Payload]]] = {
    TRAINING_REQUESTED: TrainingRequested,
    ADAPTER_READY: AdapterReady,
    ADAPTER_REQUESTED: AdapterRequested,
    JOB_REQUESTED: JobRequested,
    JOB_UPDATED: JobUpdated,
    MODEL_EVENT: ModelEvent,
}

TYPES: Final[dict[str, tuple[str, ...]]] = {
    LORA_TRAINING_REQUESTS: (TRAINING_REQUESTED,),
    LORA_ADAPTER_READY: (ADAPTER_READY,),
    LORA_ADAPTER_REQUESTS: (ADAPTER_REQUESTED,),
    COMPANY_AUTOMATION_JOBS: (JOB_REQUESTED, JOB_UPDATED),
    MODEL_EVENTS: (MODEL_EVENT,),
}
