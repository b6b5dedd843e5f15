"""`/company-automation/agents`: prompts, tools and limits for a company's jobs."""

from __future__ import annotations

from flask import Response, jsonify

from cyrex.agents import service
from web.http.auth import company_of, require_company, session_for
from web.http.idempotency import Once, StoredAnswer
from web.http.openapi import AGENTS, blueprint, documented, refusals
from web.shapes import agents as shapes
from web.shapes.common import CompanyQuery, CreateHeaders

api = blueprint("agents", __name__, "/company-automation/agents", AGENTS)

CREATED = 201


def _limits(limits: shapes.RequestedLimits) -> dict[str, int]:
    return limits.model_dump(exclude_none=True)


@api.post(
    "", summary="Create an agent", responses=documented((CREATED, shapes.AgentView), creates=True)
)
def create_agent(header: CreateHeaders, body: shapes.NewAgent) -> Response:
    """Use it with `agent_id` in `POST /company-automation/process`."""
    company_id = company_of(body.company_id)
    once = Once.of_request(header.idempotency_key, company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)

        def create() -> StoredAnswer:
            agent = service.create_agent(
                session, company_id, body.name, body.prompt, body.tools, _limits(body.limits)
            )
            return StoredAnswer(CREATED, service.agent_view(agent))

        stored, replayed = once.do(session, create)
    location = f"/company-automation/agents/{stored.answer['agent_id']}"
    return stored.response(replayed, location)


@api.get("", summary="List agents", responses=documented((200, shapes.Agents)))
def list_agents(query: CompanyQuery) -> Response:
    """Sorted by name. Every company has a default agent from the start."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        found = [service.agent_view(row) for row in service.list_agents(session, company_id)]
    return jsonify({"agents": found})


@api.get("/<agent_id>", summary="Look at an agent", responses=documented((200, shapes.AgentView)))
def get_agent(path: shapes.AgentPath, query: CompanyQuery) -> Response:
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        return jsonify(service.agent_view(service.get_agent(session, company_id, path.agent_id)))


@api.patch(
    "/<agent_id>",
    summary="Change an agent",
    responses=documented((200, shapes.AgentView), creates=True),
)
def update_agent(path: shapes.AgentPath, body: shapes.AgentChanges) -> Response:
    """Replaces prompt, tools or limits, each as a whole; fields that are left out stay."""
    company_id = company_of(body.company_id)
    changes = body.model_dump(exclude_none=True, exclude={"company_id"})
    with session_for(company_id) as session:
        agent = service.update_agent(session, company_id, path.agent_id, changes)
        return jsonify(service.agent_view(agent))


@api.delete(
    "/<agent_id>",
    summary="Delete an agent",
    responses={**documented((200, shapes.AgentDeleted)), **refusals(409)},
)
def delete_agent(path: shapes.AgentPath, query: CompanyQuery) -> Response:
    """Queued jobs that name it will fail. The default agent cannot be deleted."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        service.delete_agent(session, company_id, path.agent_id)
    return jsonify({"agent_id": path.agent_id, "deleted": True})
