"""Memory over HTTP: listed, searched, forgotten; a company's own alone."""

from __future__ import annotations

from cyrex.agents import memory
from cyrex.jobs import service as jobs
from cyrex.jobs.new_job import NewJob
from database.session import company_session
from tests.support.database import row_counts
from tests.support.web import Api, Tenant, error_of
from web.shapes import memory as shapes

MEMORY = "/company-automation/memory"


def remember(company_id: str, *asked: str) -> None:
    for text in asked:
        with company_session(company_id) as session:
            job = jobs.create_job(session, NewJob(company_id, {"input": text}))
            memory.remember_job(session, job, "done")


def listed(api: Api, query: str = "") -> shapes.Memories:
    response = api.get(MEMORY + query)
    assert response.status_code == 200, response.text
    return shapes.Memories.model_validate(response.json)


def test_listed_searched_and_paged(acme: Tenant) -> None:
    remember(acme.company_id, "invoice one", "order two", "invoice three")
    page = listed(acme.api, "?limit=2")
    rest = listed(acme.api, f"?limit=2&after={page.next_after}")
    contents = [item.content for item in (*page.memory, *rest.memory)]
    assert contents == [
        "automation: invoice three → done",
        "automation: order two → done",
        "automation: invoice one → done",
    ]
    assert rest.next_after is None
    found = listed(acme.api, "?q=invoice -three")
    assert [item.content for item in found.memory] == ["automation: invoice one → done"]
    assert listed(acme.api, "?q=%22%27%3B--").memory == []
    assert error_of(acme.api.get(f"{MEMORY}?limit=0"), 400)["param"] == "limit"
    assert error_of(acme.api.get(f"{MEMORY}?q="), 400)["param"] == "q"


def test_forgotten_one_and_all(acme: Tenant) -> None:
    remember(acme.company_id, "one", "two", "three")
    first = listed(acme.api).memory[0]
    assert acme.api.delete(f"{MEMORY}/{first.memory_id}").json == {"deleted": 1}
    error_of(acme.api.delete(f"{MEMORY}/{first.memory_id}"), 404, "memory_not_found")
    assert acme.api.delete(MEMORY).json == {"deleted": 2}
    assert listed(acme.api).memory == []


def test_another_companys_memory_does_not_exist(
    acme: Tenant, globex: Tenant, operator: Api
) -> None:
    remember(acme.company_id, "the secret plan")
    (mine,) = listed(acme.api).memory
    before = row_counts()
    assert listed(globex.api, "?q=secret").memory == []
    error_of(globex.api.delete(f"{MEMORY}/{mine.memory_id}"), 404, "memory_not_found")
    assert globex.api.delete(MEMORY).json == {"deleted": 0}
    for method in ("GET", "DELETE"):
        path = f"{MEMORY}?company_id={acme.company_id}"
        error_of(globex.api.request(method, path), 403, "company_forbidden")
    error_of(operator.delete(MEMORY), 400, "company_required")
    assert row_counts() == before
    assert operator.delete(f"{MEMORY}?company_id={acme.company_id}").json == {"deleted": 1}
