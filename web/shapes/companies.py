"""Requests and answers about companies and their API keys."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from web.shapes.common import MAX_NAME, AnswerBody, CompanyId, Parameters, RequestBody, RowId


class NewCompany(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={"example": {"company_id": "acme", "name": "Acme Corporation"}}
    )

    company_id: CompanyId
    name: str = Field("", max_length=MAX_NAME)
    context: dict[str, Any] | None = Field(None, description="Facts that its agents are told.")


class NewKey(RequestBody):
    name: str = Field("", max_length=MAX_NAME, description="The purpose of the key.")


class CompanyPath(Parameters):
    company_id: CompanyId


class KeyPath(CompanyPath):
    prefix: RowId


class CompanyView(AnswerBody):
    company_id: str
    name: str
    context: dict[str, Any]
    created_at: str


class Companies(AnswerBody):
    companies: list[CompanyView]
    next_after: str | None


class CompanyCreated(CompanyView):
    api_key: str | None = Field(
        description="The company's first key, which only this answer shows; null in a replay."
    )
    api_key_prefix: str
    message: str


class IssuedKey(AnswerBody):
    prefix: str
    name: str
    company_id: str
    api_key: str | None = Field(
        description="The key, which only this answer shows; null in a replay."
    )
    message: str


class KeyView(AnswerBody):
    prefix: str
    name: str
    company_id: str
    created_at: str
    revoked_at: str | None


class Keys(AnswerBody):
    api_keys: list[KeyView]


class KeyRevoked(AnswerBody):
    prefix: str
    revoked: bool
