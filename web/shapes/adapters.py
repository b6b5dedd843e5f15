"""Requests and answers about adapters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from web.shapes.common import (
    AnswerBody,
    CompanyPage,
    OwnCompanyId,
    Parameters,
    RequestBody,
    RowId,
)

AdapterStatus = Literal[
    "registered", "announced", "ready", "rejected", "failed", "retired", "deleted"
]
Outcome = Literal["promoted", "rejected", "rolled_back", "pinned", "unpinned", "retired", "deleted"]


class AdapterPath(Parameters):
    adapter_id: RowId


class AdapterQuery(CompanyPage):
    status: AdapterStatus | None = None


class Retire(RequestBody):
    force: bool = Field(False, description="Retire it although it is the champion.")


class Rollback(RequestBody):
    company_id: OwnCompanyId = None


class Force(Parameters):
    force: bool = Field(False, description="Delete it although it is the champion.")


class DecisionQuery(CompanyPage):
    adapter_id: RowId | None = None


class DecisionView(AnswerBody):
    decision_id: str
    company_id: str
    adapter_id: str
    previous_id: str | None = Field(description="The champion until then.")
    outcome: Outcome
    reason: str
    evidence: dict[str, Any] = Field(
        description="The gate's figures, or the prefix of the API key of the person who decided."
    )
    created_at: str


class Decisions(AnswerBody):
    decisions: list[DecisionView]
    next_after: str | None


class AdapterView(AnswerBody):
    adapter_id: str
    company_id: str
    version: int
    base_model: str
    base_model_revision: str
    adapter_type: str
    status: AdapterStatus
    champion: bool = Field(description="Whether it answers its company's requests.")
    pinned: bool = Field(description="Whether it stays champion until a person unpins it.")
    sha256: str | None
    request_id: str | None
    config: dict[str, Any]
    metadata: dict[str, Any]
    evaluation: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: str
    updated_at: str


class ResidentAdapterView(AdapterView):
    resident: list[str] = Field(description="Live workers that hold the adapter in memory.")


class Adapters(AnswerBody):
    adapters: list[AdapterView]
    next_after: str | None


class DecidedAdapter(AdapterView):
    decision: DecisionView


class AdapterDeleted(AnswerBody):
    adapter_id: str
    deleted: bool
    decision: DecisionView
