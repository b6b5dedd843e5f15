"""No company reads or changes another's rows, on any route; nor learns that they exist."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import func, select

from database.base import new_id
from database.models import CompanyMemory, IdempotencyKey
from database.session import WEB, company_session
from tests.support.database import row_counts
from tests.support.web import Api, Tenant, error_of, new_adapter
from web.shapes.jobs import JobView
from web.shapes.training import TrainingAccepted


@dataclass
class Belongings:
    """One thing of each kind that belongs to a company, by the name of its path parameter."""

    company_id: str
    job_id: str
    request_id: str
    adapter_id: str
    prefix: str
    agent_id: str
    memory_id: str
    schedule_id: str


@pytest.fixture
def belongings(acme: Tenant) -> Belongings:
    memory = CompanyMemory(
        memory_id=new_id(), company_id=acme.company_id, kind="result", content="x"
    )
    with company_session(acme.company_id) as session:
        session.add(memory)
    return Belongings(
        acme.company_id,
        JobView.model_validate(acme.api.process().json).job_id,
        TrainingAccepted.model_validate(acme.api.train().json).request_id,
        new_adapter(acme.company_id, 1),
        acme.key.split("_")[1],
        acme.api.post("/company-automation/agents", {"name": "a"}).json["agent_id"],  # type: ignore[index]
        memory.memory_id,
        acme.api.post("/company-automation/schedules", {"every_hours": 24}).json["schedule_id"],  # type: ignore[index]
    )


def routes_with_a_path(api: Api) -> list[tuple[str, str]]:
    return [
        (method, str(rule))
        for rule in api.app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if rule.arguments
        and str(rule).startswith(("/compan",))
        # A tool's name is its company's own: tests/integration/web/api/test_tools.py.
        and "/tools/" not in str(rule)
    ]


def test_every_route_to_anothers_thing_is_closed(
    acme: Tenant, globex: Tenant, belongings: Belongings
) -> None:
    routes = routes_with_a_path(globex.api)
    assert len(routes) >= 10
    before = row_counts()
    for method, rule in routes:
        path = re.sub(r"<(\w+)>", lambda found: getattr(belongings, found[1]), rule)
        takes_body = method == "PATCH" or (rule.endswith("/api-keys") and method == "POST")
        body: Any = {} if takes_body else None
        refused = globex.api.request(method, path, json=body)
        if "company_id" in rule:
            error_of(refused, 403, "company_forbidden")
        else:
            error_of(refused, 404)
            # Word for word what is said of a thing that does not exist.
            belong = belongings
            ids = [getattr(belong, name) for name in vars(belong)]
            wanted = next(found for found in ids if found in path)
            none = globex.api.request(method, path.replace(wanted, "none"), json=body)
            assert refused.text.replace(wanted, "none") == none.text
    assert row_counts() == before
    # Nothing happened to them.
    assert acme.api.get(f"/company-automation/jobs/{belongings.job_id}").json is not None
    job = acme.api.get(f"/company-automation/jobs/{belongings.job_id}")
    assert JobView.model_validate(job.json).status == "admitted"


def test_naming_another_company_is_forbidden(acme: Tenant, globex: Tenant) -> None:
    before = row_counts()
    for refused in (
        globex.api.train(company_id=acme.company_id),
        globex.api.process(company_id=acme.company_id),
        globex.api.get(f"/company-automation/jobs?company_id={acme.company_id}"),
        globex.api.get(f"/company-automation/training?company_id={acme.company_id}"),
        globex.api.get(f"/company-automation/adapters?company_id={acme.company_id}"),
        globex.api.get("/company-automation/adapters?company_id=no-such-company"),
        globex.api.process(company_id="no-such-company"),
    ):
        assert error_of(refused, 403, "company_forbidden")["param"] == "company_id"
    assert row_counts() == before


def test_lists_hold_ones_own_only(acme: Tenant, globex: Tenant, belongings: Belongings) -> None:
    for path in ("jobs", "training", "adapters"):
        listed = globex.api.get(f"/company-automation/{path}")
        assert listed.status_code == 200
        assert acme.company_id not in listed.text
        # Another's id as a place to go on from tells nothing either.
        after = globex.api.get(f"/company-automation/{path}?after={belongings.job_id}")
        assert acme.company_id not in after.text


def test_the_same_idempotency_key_of_two_companies_is_two_keys(
    acme: Tenant, globex: Tenant
) -> None:
    headers = {"Idempotency-Key": "shared"}
    mine = acme.api.process(headers=headers)
    theirs = globex.api.process(headers=headers)
    assert "Idempotent-Replayed" not in theirs.headers
    assert mine.json is not None
    assert theirs.json is not None
    assert mine.json["job_id"] != theirs.json["job_id"]
    assert theirs.json["company_id"] == globex.company_id


def test_a_company_named_operator_does_not_read_the_operators_answers(operator: Api) -> None:
    headers = {"Idempotency-Key": "make-operator"}
    for company_id in ("operator", "operators"):
        made = operator.post(
            "/companies",
            {"company_id": company_id},
            headers={"Idempotency-Key": f"make-{company_id}"},
        )
        assert made.status_code == 201
    key = made.json["api_key"]  # type: ignore[index]
    refused = Api(operator.app, key).post("/companies", {"company_id": "x"}, headers=headers)
    error_of(refused, 403, "operator_required")
    with company_session("operator", role=WEB) as session:
        assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 0
