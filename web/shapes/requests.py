"""What requests hold. Types are strict, unknown fields are refused, every limit has a name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cyrex.agents.service import MOST
from cyrex.jobs.service import DEFAULT_TASK_TYPE, MAX_CHOICES, TASK_TYPE
from cyrex.tenants.service import COMPANY_ID, check_company_id
from cyrex.training.service import MAX_SEED
from synapse.payloads import ROW_ID

MAX_WAIT_SECONDS = 300.0
MAX_PAGE = 200
MAX_NAME = 200
MAX_PROMPT = 20_000
MAX_IDEMPOTENCY_KEY = 255

JobStatus = Literal["queued", "admitted", "running", "waiting", "completed", "failed", "cancelled"]
TrainingStatus = Literal[
    "requested", "queued", "admitted", "running", "succeeded", "failed", "cancelled"
]
AdapterStatus = Literal["registered", "announced", "ready", "rejected", "failed", "retired"]

CompanyId = Annotated[
    str,
    AfterValidator(check_company_id),
    Field(
        description="The company: letters, digits, `_` and `-`.",
        json_schema_extra={"pattern": f"^{COMPANY_ID.pattern}$", "example": "acme"},
    ),
]
OwnCompanyId = Annotated[
    CompanyId | None,
    Field(description="The company. A company's key may leave it out; an operator's must name it."),
]
# In an address: what no column takes can be in no row either.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
RowId = Annotated[str, Field(pattern=ROW_ID)]


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null")
    return value


# Null is refused before pydantic tries it on each of the types and names them all.
JobData = Annotated[
    dict[str, Any] | list[Any] | str | int | float | bool,
    BeforeValidator(_not_null),
    Field(description="What to process. `{input: ...}` is asked as in training data."),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_SCHEMAS: dict[type[BaseModel], dict[str, Any]] = {}


class ReadFromTexts(BaseModel):
    """From headers, a query or a path: flask-openapi3 asks for the schema at every request."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if args or kwargs:
            return super().model_json_schema(*args, **kwargs)
        if cls not in _SCHEMAS:
            _SCHEMAS[cls] = super().model_json_schema()
        return _SCHEMAS[cls]


class Parameters(ReadFromTexts):
    model_config = ConfigDict(extra="forbid")


class CreateHeaders(ReadFromTexts):
    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        description="Send the same key again to get the same answer and do nothing twice. "
        "Kept for 24 hours; printable ASCII.",
        min_length=1,
        max_length=MAX_IDEMPOTENCY_KEY,
        pattern=r"^[\x20-\x7e]+$",
    )


class TrainAdapter(Body):
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
        "`{instruction, input?, output}` or `{messages, tools?}`.",
    )
    config: dict[str, Any] | None = Field(
        None,
        description="Settings of the trainer, e.g. `lora_rank`, `num_epochs`, `copy_variation`.",
    )
    use_qlora: bool = Field(True, description="Train on the base model quantised to 4 bits.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Drawn when left out.")
    base_model: str | None = Field(
        None, max_length=4096, description="Must be the base model that is served."
    )


class Process(Body):
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
    use_adapter: bool = Field(True, description="False: the base model answers.")
    wait: float | None = Field(
        None,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for the end before answering 202; default WAIT_SECONDS.",
    )
    metadata: dict[str, Any] | None = Field(None, description="Kept with the job.")
    agent_id: RowId | None = Field(None, description="Default: the company's default agent.")
    choices: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MAX_CHOICES,
        description="The answer will be exactly one of these, e.g. the labels of a classification.",
    )


class NewCompany(Body):
    model_config = ConfigDict(
        json_schema_extra={"example": {"company_id": "acme", "name": "Acme Corporation"}}
    )

    company_id: CompanyId
    name: str = Field("", max_length=MAX_NAME)
    context: dict[str, Any] | None = Field(None, description="What its agents should know.")


class NewKey(Body):
    name: str = Field("", max_length=MAX_NAME, description="What the key is for.")


class Limits(Body):
    """What is left out is the settings' default."""

    steps: int | None = Field(None, ge=1, le=MOST["steps"], description="Turns of the model.")
    tokens: int | None = Field(None, ge=1, le=MOST["tokens"], description="Generated in all.")
    seconds: int | None = Field(None, ge=1, le=MOST["seconds"], description="From its start.")
    memories: int | None = Field(
        None, ge=0, le=MOST["memories"], description="Earlier results that it is shown."
    )


ToolNames = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(max_length=100, description="Tools that it may call; an empty list: all of them."),
]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT, description="What it is told first.")]


class NewAgent(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "company_id": "acme",
                "name": "support",
                "prompt": "You answer customers of a shop. Look orders up before you answer.",
                "tools": ["crm_lookup"],
                "limits": {"steps": 4},
            }
        }
    )

    company_id: OwnCompanyId = None
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    prompt: Prompt = ""
    tools: ToolNames = Field(default_factory=list)
    limits: Limits = Field(default_factory=Limits)


class AgentChanges(Body):
    company_id: OwnCompanyId = None
    prompt: Prompt | None = None
    tools: ToolNames | None = None
    limits: Limits | None = None


class AgentPath(Parameters):
    agent_id: RowId


class OfCompany(Parameters):
    company_id: OwnCompanyId = None


class JobPath(Parameters):
    job_id: RowId


class TrainingPath(Parameters):
    request_id: RowId


class AdapterPath(Parameters):
    adapter_id: RowId


class CompanyPath(Parameters):
    company_id: CompanyId


class KeyPath(CompanyPath):
    prefix: RowId


class Page(Parameters):
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    after: RowId | None = Field(None, description="`next_after` of the page before.")


class CompanyPage(Page):
    company_id: Annotated[
        CompanyId | None, Field(description="Only this company's. An operator may leave it out.")
    ] = None


class JobQuery(CompanyPage):
    status: JobStatus | None = None


class TrainingQuery(CompanyPage):
    status: TrainingStatus | None = None


class AdapterQuery(CompanyPage):
    status: AdapterStatus | None = None


class ReadinessQuery(Parameters):
    strict: bool = Field(False, description="503 also while some queue is not worked on.")


class EventQuery(Parameters):
    after: int = Field(0, ge=0, lt=2**63, description="Events after this id.")
    limit: int = Field(100, ge=1, le=1000)
