from __future__ import annotations

import pytest

from cyrex.errors import Conflict, NotFound, UserError
from cyrex.tenants import service as companies
from database.models import Company
from database.session import operator_session
from tests.support import rows
from tests.support.waiting import together

pytestmark = pytest.mark.usefixtures("database_url")


def test_a_company_is_created_with_what_it_was_given() -> None:
    with operator_session() as session:
        made = companies.create_company(session, "acme", "Acme Corp", {"sector": "tools"})
        assert (made.company_id, made.name, made.context) == (
            "acme",
            "Acme Corp",
            {"sector": "tools"},
        )
        assert companies.create_company(session, "globex").name == "globex"
    with operator_session() as session:
        assert companies.get_company(session, "acme").name == "Acme Corp"


def test_an_id_is_taken_once() -> None:
    def create() -> bool:
        try:
            with operator_session() as session:
                companies.create_company(session, "taken-once", "first")
        except Conflict as conflict:
            assert conflict.param == "company_id"
            return False
        return True

    assert sorted(together([create] * 4)) == [False, False, False, True]
    with pytest.raises(Conflict), operator_session() as session:
        companies.create_company(session, "taken-once", "second")
    assert rows.get(Company, "taken-once").name == "first"


def test_a_bad_id_writes_nothing() -> None:
    with operator_session() as session, pytest.raises(UserError, match="company_id"):
        companies.create_company(session, "../etc")


def test_an_unknown_company_is_not_found() -> None:
    with operator_session() as session, pytest.raises(NotFound, match="nobody"):
        companies.get_company(session, "nobody")


def test_companies_are_listed_page_by_page() -> None:
    made = sorted(rows.company("page") for _ in range(5))
    with operator_session() as session:
        first = companies.list_companies(session, limit=2, after="page")
        second = companies.list_companies(session, limit=2, after=first[-1].company_id)
    assert [company.company_id for company in first + second] == made[:4]
