"""`/company-automation/agents`: who does a company's jobs."""

from __future__ import annotations

from flask import Response, jsonify

from cyrex.agents import service
from web.http.auth import company_of, require_company, session_for
from web.http.idempotency import Once, Stored
from web.http.openapi import AGENTS, blueprint
from web.http.openapi import answers as answered
from web.shapes import answers
from web.shapes import requests as schemas

api = blueprint("agents", __name__, "/company-automation/agents", AGENTS)

CREATED = 201


def _limits(limits: schemas.Limits) -> dict[str, int]:
    return limits.model_dump(exclude_none=True)


@api.post("", summary="Create an agent", responses=answered((CREATED, answers.Agent), creates=True))
def create_agent(header: schemas.CreateHeaders, body: schemas.NewAgent) -> Response:
    """Name it in `POST /company-automation/process` as `agent_id`."""
    company_id = company_of(body.company_id)
    once = Once.of_request(header.idempotency_key, company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)

        def create() -> Stored:
            agent = service.create_agent(
                session, company_id, body.name, body.prompt, body.tools, _limits(body.limits)
            )
            return Stored(CREATED, service.agent_view(agent))

        stored, replayed = once.do(session, create)
    location = f"/company-automation/agents/{stored.answer['agent_id']}"
    return stored.response(replayed, location)


@api.get("", summary="List agents", responses=answered((200, answers.Agents)))
def list_agents(query: schemas.OfCompany) -> Response:
    """By name; the default agent is among them from the start."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        found = [service.agent_view(row) for row in service.list_agents(session, company_id)]
    return jsonify({"agents": found})


@api.get("/<agent_id>", summary="Look at an agent", responses=answered((200, answers.Agent)))
def get_agent(path: schemas.AgentPath, query: schemas.OfCompany) -> Response:
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        return jsonify(service.agent_view(service.get_agent(session, company_id, path.agent_id)))


@api.patch(
    "/<agent_id>",
    summary="Change an agent",
    responses=answered((200, answers.Agent), creates=True),
)
def update_agent(path: schemas.AgentPath, body: schemas.AgentChanges) -> Response:
    """Prompt, tools and limits, each as a whole; what is left out stays."""
    company_id = company_of(body.company_id)
    changes = body.model_dump(exclude_none=True, exclude={"company_id"})
    with session_for(company_id) as session:
        agent = service.update_agent(session, company_id, path.agent_id, changes)
        return jsonify(service.agent_view(agent))


@api.delete(
    "/<agent_id>",
    summary="Delete an agent",
    responses={**answered((200, answers.AgentDeleted)), 409: answered(creates=True)[409]},
)
def delete_agent(path: schemas.AgentPath, query: schemas.OfCompany) -> Response:
    """Jobs that name it and have not begun will fail. The default agent stays."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        service.delete_agent(session, company_id, path.agent_id)
    return jsonify({"agent_id": path.agent_id, "deleted": True})
