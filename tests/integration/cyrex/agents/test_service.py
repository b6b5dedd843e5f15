"""A company's agents: their tools, their changes, kept apart from other companies'."""

from __future__ import annotations

import pytest

from cyrex.agents import service as agents
from cyrex.errors import Conflict, NotFound, UserError
from cyrex.jobs import service as jobs
from cyrex.jobs.new_job import NewJob
from cyrex.tools import service as tool_registry
from database.session import company_session, operator_session
from tests.support import rows
from tests.support.agents import ORDER_TOOL, Shop, run

ASK = {"input": "Get the order 84213"}


def test_agent_offers_only_its_tools(company: str, shop: Shop) -> None:
    other = {**ORDER_TOOL, "name": "other_tool", "endpoint": shop.url}
    with company_session(company) as session:
        tool_registry.register(session, company, tool_registry.parse_tools([other]))
        agent = agents.create_agent(session, company, "narrow", tools=["other_tool"])
        new = NewJob(company, ASK, agent_id=agent.agent_id)
        job_id = jobs.create_job(session, new).job_id
    view = run(company, job_id)
    assert view["agent_id"] == agent.agent_id
    assert {c["tool"] for c in view["tool_results"]} <= {"other_tool"}


def test_agents_are_kept_apart(company: str) -> None:
    other = rows.company("other")
    with company_session(other) as session:
        agent = agents.create_agent(session, other, "theirs")
    with company_session(company) as session, pytest.raises(NotFound):
        jobs.create_job(session, NewJob(company, ASK, agent_id=agent.agent_id))
    with operator_session() as session, pytest.raises(NotFound):
        jobs.create_job(session, NewJob(company, ASK, agent_id=agent.agent_id))


def test_agents_are_changed_and_deleted(company: str) -> None:
    with company_session(company) as session:
        made = agents.create_agent(session, company, "a", "prompt", ["t"], {"steps": 2})
        changed = agents.update_agent(session, company, made.agent_id, {"prompt": "new"})
        view = agents.agent_view(changed)
        assert (view["prompt"], view["tools"], view["limits"]) == ("new", ["t"], {"steps": 2})
        assert view["effective_limits"]["steps"] == 2
        assert [a.name for a in agents.list_agents(session, company)] == ["a", "default"]
        with pytest.raises(Conflict):
            agents.create_agent(session, company, "a")
        for bad in ({"steps": 0}, {"steps": 65}, {"step": 1}, {"tokens": 1.5}):
            with pytest.raises(UserError, match="limits"):
                agents.update_agent(session, company, made.agent_id, {"limits": bad})
        with pytest.raises(Conflict):
            default = agents.default_agent(session, company)
            agents.delete_agent(session, company, default.agent_id)
        agents.delete_agent(session, company, made.agent_id)
        with pytest.raises(NotFound):
            agents.get_agent(session, company, made.agent_id)
