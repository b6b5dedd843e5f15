from __future__ import annotations

import pytest

from cyrex.errors import UserError
from cyrex.tenants.service import check_company_id


@pytest.mark.parametrize("company_id", ["a", "acme", "acme_corp", "Acme-2", "0x", "a" * 63])
def test_good_ids_are_returned(company_id: str) -> None:
    assert check_company_id(company_id) == company_id


@pytest.mark.parametrize(
    "company_id", ["", "-a", "_a", "a b", "a/b", "..", "a.b", "é", "a\n", "a" * 64, "(operator)"]
)
def test_bad_ids_are_refused_by_field(company_id: str) -> None:
    with pytest.raises(UserError) as refused:
        check_company_id(company_id)
    assert refused.value.param == "company_id"
    assert refused.value.status == 400
