"""Requests and answers about agents."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from cyrex.agents.service import MOST
from web.shapes.common import MOMENT, AnswerBody, OwnCompanyId, Parameters, RequestBody, RowId

MAX_PROMPT = 20_000
ToolNames = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(max_length=100, description="Tools that the agent may call; an empty list: all tools."),
]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT, description="The system prompt.")]


class RequestedLimits(RequestBody):
    """Limits of a job. A limit that is left out has the default of the settings."""

    steps: int | None = Field(None, ge=1, le=MOST["steps"], description="Most turns of the model.")
    tokens: int | None = Field(
        None, ge=1, le=MOST["tokens"], description="Most generated tokens, over all turns."
    )
    seconds: int | None = Field(
        None, ge=1, le=MOST["seconds"], description="Most seconds, from the job's start."
    )
    memories: int | None = Field(
        None, ge=0, le=MOST["memories"], description="Most earlier results that the agent is shown."
    )


class NewAgent(RequestBody):
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
    limits: RequestedLimits = Field(default_factory=RequestedLimits)


class AgentChanges(RequestBody):
    company_id: OwnCompanyId = None
    prompt: Prompt | None = None
    tools: ToolNames | None = None
    limits: RequestedLimits | None = None


class AgentPath(Parameters):
    agent_id: RowId


class AgentView(AnswerBody):
    agent_id: str
    company_id: str
    name: str
    default: bool = Field(description="Whether it works on jobs that name no agent.")
    prompt: str
    tools: list[str]
    limits: dict[str, int]
    effective_limits: dict[str, float] = Field(
        description="The limits with the defaults filled in."
    )
    created_at: str = Field(examples=MOMENT)
    updated_at: str


class Agents(AnswerBody):
    agents: list[AgentView]


class AgentDeleted(AnswerBody):
    agent_id: str
    deleted: bool
