"""Shared shapes: ids, pages, the idempotency key, and unknown fields."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cyrex.errors import UserError
from web.shapes.common import (
    MAX_IDEMPOTENCY_KEY,
    MAX_PAGE,
    AnswerBody,
    CompanyPage,
    CompanyQuery,
    CreateHeaders,
    Page,
    RequestBody,
)


@pytest.mark.parametrize("company_id", ["acme", "Acme_2", "a-b"])
def test_a_company_id_is_taken(company_id: str) -> None:
    assert CompanyQuery(company_id=company_id).company_id == company_id


@pytest.mark.parametrize("company_id", ["", "a b", "a/b", "ä", "a\n"])
def test_a_malformed_company_id_is_refused(company_id: str) -> None:
    with pytest.raises(UserError) as refused:
        CompanyPage(company_id=company_id)
    assert refused.value.param == "company_id"


@pytest.mark.parametrize("limit", [0, MAX_PAGE + 1])
def test_a_page_has_bounds(limit: int) -> None:
    with pytest.raises(ValidationError):
        Page(limit=limit)
    assert Page(limit=MAX_PAGE).limit == MAX_PAGE


@pytest.mark.parametrize("key", ["", "k" * (MAX_IDEMPOTENCY_KEY + 1), "k\n", "ké"])
def test_an_idempotency_key_is_short_printable_ascii(key: str) -> None:
    with pytest.raises(ValidationError):
        CreateHeaders.model_validate({"Idempotency-Key": key})
    longest = "k" * MAX_IDEMPOTENCY_KEY
    assert CreateHeaders.model_validate({"Idempotency-Key": longest}).idempotency_key == longest


class _Request(RequestBody):
    count: int


class _Answer(AnswerBody):
    count: int


@pytest.mark.parametrize("shape", [_Request, _Answer])
def test_unknown_fields_are_refused(shape: type[_Request | _Answer]) -> None:
    with pytest.raises(ValidationError, match="extra"):
        shape.model_validate({"count": 1, "cuont": 2})


def test_the_types_of_a_request_are_strict() -> None:
    with pytest.raises(ValidationError):
        _Request.model_validate({"count": "1"})


def test_a_schema_of_parameters_is_made_once() -> None:
    assert Page.model_json_schema() is Page.model_json_schema()
    assert Page.model_json_schema() is not CompanyPage.model_json_schema()
