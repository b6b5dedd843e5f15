"""Adapters as their company sees them, and which of them answers."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.exc import IntegrityError

from cyrex.adapters import service as adapters
from cyrex.errors import NotFound, UserError
from database.base import new_id
from database.models import AdapterAlias, LoraAdapter
from database.session import WEB, company_session, operator_session
from settings import get_settings
from tests.support import rows
from tests.support.waiting import together

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def acme() -> str:
    return rows.company()


def crown(company_id: str, adapter_id: str) -> None:
    with operator_session() as session:
        session.add(AdapterAlias(alias_id=new_id(), company_id=company_id, champion_id=adapter_id))


def test_versions_count_from_one_for_each_company(acme: str) -> None:
    made = [rows.adapter(acme) for _ in range(3)]
    assert [rows.get(LoraAdapter, key).version for key in made] == [1, 2, 3]
    assert rows.get(LoraAdapter, rows.adapter(rows.company("globex"))).version == 1


def test_versions_taken_at_once_are_all_different(acme: str) -> None:
    made = together([lambda: rows.adapter(acme)] * 5)
    assert sorted(rows.get(LoraAdapter, key).version for key in made) == [1, 2, 3, 4, 5]


def test_the_champion_answers_and_no_other(acme: str) -> None:
    _, second = rows.adapter(acme), rows.adapter(acme)
    globex = rows.company("globex")
    with company_session(acme) as session:
        assert adapters.champion_of(session, acme) is None
    crown(acme, second)
    crown(globex, rows.adapter(globex))
    with company_session(acme) as session:
        found = adapters.champion_of(session, acme)
        assert found is not None
        assert found.adapter_id == second
        assert adapters.champion_ids(session) == {second}
        assert adapters.champion_of(session, globex) is None
    with operator_session() as session:
        assert adapters.champion_ids(session, acme) == {second}
        assert len(adapters.champion_ids(session)) >= 2


def test_an_alias_to_another_companys_adapter_is_refused(acme: str) -> None:
    theirs = rows.adapter(rows.company("globex"))
    with pytest.raises(IntegrityError, match="champion_id"):
        crown(acme, theirs)
    with operator_session() as session:
        assert adapters.champion_of(session, acme) is None


def test_the_folder_of_the_base_model_may_move_but_not_its_name(acme: str) -> None:
    name = get_settings().base_model_path.rpartition("/")[2]
    moved = rows.get(LoraAdapter, rows.adapter(acme, base_model=f"/elsewhere/{name}"))
    adapters.check_base(moved)
    other = rows.get(LoraAdapter, rows.adapter(acme, base_model="/elsewhere/other"))
    with pytest.raises(UserError, match=r"was trained on other \(main\)") as refused:
        adapters.check_base(other)
    assert refused.value.status == 409


def test_adapters_are_listed_newest_first_and_by_status(acme: str) -> None:
    made = [rows.adapter(acme) for _ in range(4)]
    rows.adapter(rows.company("globex"))
    rows.change(LoraAdapter, made[1], status="ready")
    with company_session(acme, WEB) as session:
        first = adapters.list_adapters(session, limit=3)
        rest = adapters.list_adapters(session, limit=3, after=first[-1].adapter_id)
        ready = adapters.list_adapters(session, status="ready")
    with operator_session() as session:
        named = adapters.list_adapters(session, acme)
    assert [row.adapter_id for row in first + rest] == made[::-1]
    assert [row.adapter_id for row in ready] == [made[1]]
    assert [row.adapter_id for row in named] == made[::-1]


def test_an_adapter_is_its_companys_alone(acme: str) -> None:
    adapter_id = rows.adapter(acme)
    with company_session(rows.company("globex"), WEB) as session, pytest.raises(NotFound):
        adapters.get_adapter(session, adapter_id)
    with company_session(acme, WEB) as session:
        row = adapters.get_adapter(session, adapter_id)
        shown = adapters.adapter_view(row, {adapter_id})
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["version"], shown["champion"], shown["status"]) == (1, True, "registered")
    assert adapters.adapter_view(row, set())["champion"] is False
