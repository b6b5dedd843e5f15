"""shapes.Agents over HTTP, and jobs that name one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.web import Api, Tenant, error_of
from web.shapes import agents as shapes

PATH = "/company-automation/agents"


def create(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    made = tenant.api.post(PATH, {"name": "support", **fields})
    assert made.status_code == 201, made.text
    found: dict[str, Any] = shapes.AgentView.model_validate(made.json).model_dump()
    assert made.headers["Location"] == f"{PATH}/{found['agent_id']}"
    return found


def test_life_of_an_agent(acme: Tenant) -> None:
    made = create(acme, prompt="Be brief.", tools=["crm"], limits={"steps": 3})
    path = f"{PATH}/{made['agent_id']}"
    assert (made["default"], made["limits"]) == (False, {"steps": 3})
    assert made["effective_limits"]["steps"] == 3
    assert made["effective_limits"]["tokens"] > 0
    assert acme.api.get(path).json == made
    changed = acme.api.request("PATCH", path, json={"prompt": "Be kind.", "limits": {}})
    assert changed.status_code == 200, changed.text
    assert changed.json is not None
    assert (changed.json["prompt"], changed.json["tools"]) == ("Be kind.", ["crm"])
    assert changed.json["limits"] == {}
    listed = shapes.Agents.model_validate(acme.api.get(PATH).json).agents
    assert [(a.name, a.default) for a in listed] == [("default", True), ("support", False)]
    assert acme.api.delete(path).json == {"agent_id": made["agent_id"], "deleted": True}
    error_of(acme.api.get(path), 404, "agent_not_found")


def test_default_agent_stays(acme: Tenant) -> None:
    (default,) = acme.api.get(PATH).json["agents"]  # type: ignore[index]
    error_of(acme.api.delete(f"{PATH}/{default['agent_id']}"), 409, "default_agent")


def test_name_is_taken_once(acme: Tenant) -> None:
    create(acme)
    error_of(acme.api.post(PATH, {"name": "support"}), 409, "agent_exists")


def test_so_many_agents_and_no_more(
    acme: Tenant, globex: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyrex.agents.service.MAX_AGENTS", 1)
    assert acme.api.post(PATH, {"name": "one"}).status_code == 201
    error_of(acme.api.post(PATH, {"name": "two"}), 409, "too_many_agents")
    assert globex.api.post(PATH, {"name": "one"}).status_code == 201


def test_creating_twice_under_one_key_makes_one(acme: Tenant) -> None:
    headers = {"Idempotency-Key": "agent-1"}
    one, two = (acme.api.post(PATH, {"name": "once"}, headers=headers) for _ in range(2))
    assert one.json == two.json
    assert two.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"limits": {"steps": 0}}, "limits.steps"),
        ({"limits": {"steps": 1000}}, "limits.steps"),
        ({"limits": {"stepz": 1}}, "limits.stepz"),
        ({"tools": "crm"}, "tools"),
        ({"prompt": "x" * 20_001}, "prompt"),
    ],
)
def test_wrong_field_is_named(acme: Tenant, fields: dict[str, Any], param: str) -> None:
    answer = acme.api.post(PATH, {"name": "x", **fields})
    assert error_of(answer, 400)["param"] == param


def test_other_company_sees_nothing(acme: Tenant, globex: Tenant) -> None:
    made = create(acme)
    path = f"{PATH}/{made['agent_id']}"
    error_of(globex.api.get(path), 404, "agent_not_found")
    error_of(globex.api.request("PATCH", path, json={"prompt": "x"}), 404, "agent_not_found")
    error_of(globex.api.delete(path), 404, "agent_not_found")
    error_of(globex.api.process(agent_id=made["agent_id"]), 404, "agent_not_found")
    assert acme.api.get(path).json == made


def test_operator_names_the_company(operator: Api, acme: Tenant) -> None:
    made = create(acme)
    path = f"{PATH}/{made['agent_id']}"
    error_of(operator.get(path), 400, "company_required")
    assert operator.get(f"{path}?company_id={acme.company_id}").json == made


def test_job_keeps_agent_and_choices(acme: Tenant) -> None:
    made = create(acme)
    asked = acme.api.process(agent_id=made["agent_id"], choices=["yes", "no"])
    assert asked.status_code == 202, asked.text
    job = asked.json
    assert job is not None
    assert (job["agent_id"], job["choices"]) == (made["agent_id"], ["yes", "no"])
    assert job["steps"] == []


@pytest.mark.parametrize(
    ("choices", "param"),
    [([], "choices"), (["a", "a"], "choices"), (["a", " "], "choices[1]"), ([1], "choices[0]")],
)
def test_bad_choices(acme: Tenant, choices: list[Any], param: str) -> None:
    assert error_of(acme.api.process(choices=choices), 400)["param"] == param
