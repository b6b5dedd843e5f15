"""Memory: kept once a job, recalled by age and by words, a company's own."""

from __future__ import annotations

import pytest

from cyrex.agents import memory
from cyrex.errors import NotFound
from database.models import Company, CompanyMemory, Job
from database.session import WEB, company_session, operator_session
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url", "redis_url")


def remember(company_id: str, asked: object, brought: object) -> str:
    job_id = rows.job(company_id, asked)
    with company_session(company_id) as session:
        memory.remember_job(session, session.get_one(Job, job_id), brought)
    return job_id


def recall(company_id: str, query: str, limit: int) -> list[str]:
    with company_session(company_id) as session:
        return [row.content for row in memory.recall(session, company_id, query, limit)]


def test_a_result_is_kept_once_and_on_one_line() -> None:
    acme = rows.company()
    job_id = remember(acme, {"input": "find\n  Jo"}, {"email": "jo@example.com"})
    with company_session(acme) as session:
        memory.remember_job(session, session.get_one(Job, job_id), "again")
        (row,) = memory.list_memory(session, acme)
    assert row.content == 'automation: find Jo → {"email":"jo@example.com"}'
    assert (row.job_id, row.kind) == (job_id, "result")


def test_what_is_long_is_cut_off() -> None:
    acme = rows.company()
    remember(acme, {"text": "word " * 3_000_000}, "answer " * 1000)
    (found,) = recall(acme, "answer", 3)
    assert len(found) < 2 * memory.MAX_CHARACTERS + 50
    assert found.count("…") == 2


def test_the_newest_and_what_fits_best() -> None:
    acme = rows.company()
    remember(acme, {"input": "invoice of Muster GmbH, Berlin"}, "paid")
    remember(acme, {"input": "weather in Berlin"}, "rain")
    for n in range(20):
        remember(acme, {"input": f"question {n}"}, "nothing")
    assert recall(acme, "Has Muster paid the invoice from Berlin?", 4) == [
        "automation: invoice of Muster GmbH, Berlin → paid",
        "automation: weather in Berlin → rain",
        "automation: question 18 → nothing",
        "automation: question 19 → nothing",
    ]
    # Nothing fits: more of the newest.
    assert [line.split()[2] for line in recall(acme, "unheard of", 3)] == ["17", "18", "19"]
    assert len(recall(acme, "question", 100)) == 22
    assert recall(acme, "question", 0) == []


@pytest.mark.parametrize(
    "query", ["", "a & b | !(", "'; --", "\\", "of to", "x" * 100_000, "ab🙂 ä"]
)
def test_any_text_may_be_asked(query: str) -> None:
    acme = rows.company()
    for n in range(3):
        remember(acme, {"input": f"thing {n}"}, "kept")
    assert len(recall(acme, query, 2)) == 2


def test_lists_search_and_pages() -> None:
    acme = rows.company()
    for n in range(5):
        remember(acme, {"input": f"order {n}"}, "shipped" if n % 2 else "lost at sea")
    with company_session(acme, role=WEB) as session:
        page = memory.list_memory(session, acme, limit=2)
        rest = memory.list_memory(session, acme, after=page[-1].memory_id)
        lost = memory.list_memory(session, acme, '"at sea" -4')
    assert [row.content.split()[2] for row in (*page, *rest)] == ["4", "3", "2", "1", "0"]
    assert [row.content.split()[2] for row in lost] == ["2", "0"]


def test_a_company_recalls_and_forgets_its_own_alone() -> None:
    acme, globex = rows.company(), rows.company("globex")
    remember(acme, {"input": "the secret plan"}, "plan A")
    remember(globex, {"input": "the secret plan"}, "plan B")
    with company_session(acme, role=WEB) as session:
        (mine,) = memory.list_memory(session)
        assert memory.recall(session, globex, "secret plan", 5) == []
        assert memory.forget_all(session, globex) == 0
    with operator_session() as session:
        (theirs,) = memory.list_memory(session, globex)
    with (
        pytest.raises(NotFound, match="there is no memory"),
        company_session(acme, role=WEB) as session,
    ):
        memory.forget(session, theirs.memory_id)
    with company_session(acme, role=WEB) as session:
        memory.forget(session, mine.memory_id)
    assert recall(acme, "plan", 5) == []
    assert len(recall(globex, "plan", 5)) == 1
    with company_session(globex, role=WEB) as session:
        assert memory.forget_all(session, globex) == 1


def test_memory_outlives_its_job_and_goes_with_its_company() -> None:
    acme = rows.company()
    job_id = remember(acme, {"input": "x"}, "kept")
    with operator_session() as session:
        session.delete(session.get_one(Job, job_id))
    with company_session(acme) as session:
        (row,) = memory.list_memory(session, acme)
        assert row.job_id is None
    with operator_session() as session:
        session.delete(session.get_one(Company, acme))
    with operator_session() as session:
        assert session.get(CompanyMemory, row.memory_id) is None
