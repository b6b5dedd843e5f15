"""Agents: how a company wants its jobs done. Each company has a default one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cyrex.agents.turn import AgentLimits
from cyrex.errors import Conflict, NotFound, UserError
from cyrex.tenants.service import count_locked
from database.base import Json, new_id
from database.models import Agent
from settings import get_settings

DEFAULT_NAME = "default"
MAX_AGENTS = 100
# The most that an agent's limits may be set to.
MOST = {"steps": 64, "tokens": 65_536, "seconds": 3600, "memories": 50}
LEAST = {"steps": 1, "tokens": 1, "seconds": 1, "memories": 0}


def limits_of(agent: Agent | None) -> AgentLimits:
    """An agent's limits, the settings' where it has none of its own."""
    settings = get_settings()
    own = agent.limits if agent is not None else {}
    return AgentLimits(
        steps=own.get("steps", settings.agent_steps),
        tokens=own.get("tokens", settings.agent_tokens),
        seconds=own.get("seconds", settings.agent_seconds),
        memories=own.get("memories", settings.agent_memories),
    )


def check_limits(limits: Json) -> Json:
    """Return `limits` if each is known and within its range. Raises `UserError`."""
    for name, value in limits.items():
        if name not in MOST:
            raise UserError(
                "invalid_limits",
                f"limits.{name}: is none of {', '.join(MOST)}",
                param=f"limits.{name}",
            )
        if not isinstance(value, int) or not LEAST[name] <= value <= MOST[name]:
            raise UserError(
                "invalid_limits",
                f"limits.{name}: must be a whole number from {LEAST[name]} to {MOST[name]}",
                param=f"limits.{name}",
            )
    return limits


def default_agent(session: Session, company_id: str) -> Agent:
    """The company's default agent, which is made when it is first needed."""
    found = find_default(session, company_id)
    if found is None:
        session.execute(
            insert(Agent)
            .values(agent_id=new_id(), company_id=company_id, name=DEFAULT_NAME)
            .on_conflict_do_nothing()
        )
        found = find_default(session, company_id)
    assert found is not None, f"company {company_id} has no default agent"
    return found


# Read for every job: built once.
DEFAULT = select(Agent).where(Agent.company_id == bindparam("company"), Agent.name == DEFAULT_NAME)


def find_default(session: Session, company_id: str) -> Agent | None:
    found: Agent | None = session.scalar(DEFAULT, {"company": company_id})
    return found


def get_agent(session: Session, company_id: str, agent_id: str) -> Agent:
    """A company's agent. Raises `NotFound`, also for another company's."""
    row = session.get(Agent, agent_id)
    if row is None or row.company_id != company_id:
        raise NotFound("agent_not_found", f"there is no agent {agent_id!r}", "agent_id")
    return row


def list_agents(session: Session, company_id: str) -> list[Agent]:
    """A company's agents by name, the default one among them."""
    default_agent(session, company_id)
    query = select(Agent).where(Agent.company_id == company_id).order_by(Agent.name)
    return list(session.scalars(query))


def create_agent(
    session: Session,
    company_id: str,
    name: str,
    prompt: str = "",
    tools: list[str] | None = None,
    limits: Json | None = None,
) -> Agent:
    """Insert an agent. `tools` are names; none means all of the company's. Raises `Conflict`."""
    if count_locked(session, Agent, company_id) >= MAX_AGENTS:
        raise Conflict("too_many_agents", f"a company may have {MAX_AGENTS} agents")
    agent = Agent(
        agent_id=new_id(),
        company_id=company_id,
        name=name,
        prompt=prompt,
        tools=tools or [],
        limits=check_limits(limits or {}),
    )
    try:
        with session.begin_nested():
            session.add(agent)
    except IntegrityError as error:
        raise Conflict("agent_exists", f"there is an agent {name!r} already", "name") from error
    session.refresh(agent)
    return agent


def update_agent(session: Session, company_id: str, agent_id: str, changes: Json) -> Agent:
    """Change prompt, tools or limits; what `changes` does not name stays."""
    agent = get_agent(session, company_id, agent_id)
    if "limits" in changes:
        check_limits(changes["limits"])
    for field in ("prompt", "tools", "limits"):
        if field in changes:
            setattr(agent, field, changes[field])
    session.flush()
    session.refresh(agent)
    return agent


def delete_agent(session: Session, company_id: str, agent_id: str) -> None:
    """Remove an agent; jobs that name it and have not begun will fail. Raises `Conflict`."""
    agent = get_agent(session, company_id, agent_id)
    if agent.name == DEFAULT_NAME:
        raise Conflict("default_agent", "the default agent cannot be deleted", "agent_id")
    session.delete(agent)
    session.flush()


def agent_view(agent: Agent) -> dict[str, Any]:
    """An agent as JSON; `effective_limits` has the settings' values filled in."""
    limits = limits_of(agent)
    return {
        "agent_id": agent.agent_id,
        "company_id": agent.company_id,
        "name": agent.name,
        "default": agent.name == DEFAULT_NAME,
        "prompt": agent.prompt,
        "tools": agent.tools,
        "limits": agent.limits,
        "effective_limits": {name: getattr(limits, name) for name in MOST},
        "created_at": agent.created_at.isoformat(),
        "updated_at": agent.updated_at.isoformat(),
    }
