"""A new company needs an id; names are bounded."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from web.shapes.common import MAX_NAME
from web.shapes.companies import NewCompany, NewKey


@pytest.mark.parametrize(
    ("shape", "body", "field"),
    [
        (NewCompany, {}, "company_id"),
        (NewCompany, {"company_id": "acme", "name": "n" * (MAX_NAME + 1)}, "name"),
        (NewCompany, {"company_id": "acme", "context": []}, "context"),
        (NewKey, {"name": "n" * (MAX_NAME + 1)}, "name"),
    ],
)
def test_the_field_at_fault_is_named(shape: Any, body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        shape.model_validate(body)
    assert refused.value.errors()[0]["loc"] == (field,)


def test_a_name_is_optional() -> None:
    company = NewCompany.model_validate({"company_id": "acme"})
    assert (company.name, company.context) == ("", None)
    assert NewKey.model_validate({}).name == ""
