"""The limits of an agent have bounds of their own."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cyrex.agents.service import MOST
from web.shapes.agents import AgentChanges, NewAgent, RequestedLimits


@pytest.mark.parametrize("name", sorted(MOST))
def test_each_limit_has_a_highest_value(name: str) -> None:
    most = MOST[name]
    assert RequestedLimits.model_validate({name: most}).model_dump(exclude_none=True) == {
        name: most
    }
    with pytest.raises(ValidationError) as refused:
        RequestedLimits.model_validate({name: most + 1})
    assert refused.value.errors()[0]["loc"] == (name,)


def test_every_limit_can_be_set() -> None:
    assert set(RequestedLimits.model_fields) == set(MOST)


def test_a_new_agent_needs_only_a_name() -> None:
    agent = NewAgent.model_validate({"name": "support"})
    assert (agent.prompt, agent.tools, agent.limits) == ("", [], RequestedLimits())
    with pytest.raises(ValidationError, match="name"):
        NewAgent.model_validate({})


def test_a_change_of_nothing_changes_nothing() -> None:
    assert AgentChanges.model_validate({}).model_dump(exclude_none=True) == {}
