"""Requests and answers about adapters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from web.shapes.common import AnswerBody, CompanyPage, Parameters, RowId

AdapterStatus = Literal["registered", "announced", "ready", "rejected", "failed", "retired"]


class AdapterPath(Parameters):
    adapter_id: RowId


class AdapterQuery(CompanyPage):
    status: AdapterStatus | None = None


class AdapterView(AnswerBody):
    adapter_id: str
    company_id: str
    version: int
    base_model: str
    base_model_revision: str
    adapter_type: str
    status: AdapterStatus
    champion: bool = Field(description="Whether it answers its company's requests.")
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
