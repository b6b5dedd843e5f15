"""The jobs' Python service on real servers, with no worker there: what it writes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from cyrex.company_data_automation import CompanyDataAutomation, get_automation_service
from cyrex.errors import NotFound, UserError
from database.base import new_id
from database.models import CompanyTool
from database.session import operator_session
from synapse.streams import (
    COMPANY_AUTOMATION_JOBS,
)
from tests.support import rows
from tests.support.environment import forget_settings

TOOL = {"name": "crm", "endpoint": "https://crm.acme.com/api", "description": "Look up"}

pytestmark = pytest.mark.usefixtures("database_url", "redis_url")


def test_job_is_requested_over_its_channel() -> None:
    automation = asyncio.run(get_automation_service())
    company_id = f"new-{new_id()}"
    result = asyncio.run(
        automation.process_company_data(company_id, {"task": "t"}, "sales", False, wait=0)
    )
    assert (result["status"], result["tool_results"]) == ("requested", [])
    (event,) = rows.announced(company_id, COMPANY_AUTOMATION_JOBS)
    assert event["type"] == "job.requested"
    data = event["data"]
    assert (data["job_id"], data["data"]) == (result["job_id"], {"task": "t"})
    assert (data["task_type"], data["use_adapter"]) == ("sales", False)


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"data": {"a": object()}}, "data"),
        ({"data": {"a": float("nan")}}, "data"),
        ({"data": 1, "task_type": "a b"}, "task_type"),
        ({"data": 1, "choices": []}, "choices"),
        ({"data": 1, "choices": ["a", ""]}, "choices[1]"),
    ],
)
def test_what_cannot_be_a_job_is_refused_and_nothing_is_left(
    arguments: dict[str, Any], param: str
) -> None:
    automation = asyncio.run(get_automation_service())
    company_id = f"new-{new_id()}"
    with pytest.raises(UserError) as refused:
        asyncio.run(automation.process_company_data(company_id, wait=0, **arguments))
    assert refused.value.param == param
    assert refused.value.message.startswith(f"{param}: ")
    assert rows.announced(company_id, COMPANY_AUTOMATION_JOBS) == []


def test_job_of_a_wrong_agent_is_refused() -> None:
    with pytest.raises(NotFound):
        asyncio.run(CompanyDataAutomation().process_company_data(rows.company(), "x", agent_id="a"))


def test_tools_are_registered_without_showing_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_SECRETS_KEY", Fernet.generate_key().decode())
    forget_settings()
    company_id = f"new-{new_id()}"
    tool = {**TOOL, "auth": {"type": "bearer", "token": "s3cret-token"}}
    (shown,) = asyncio.run(CompanyDataAutomation().register_company_tools(company_id, [tool]))
    assert shown["name"] == "crm"
    assert "s3cret" not in str(shown)
    with operator_session() as session:
        row = session.scalars(select(CompanyTool).where(CompanyTool.company_id == company_id)).one()
    assert row.secrets is not None and b"s3cret" not in row.secrets
    with pytest.raises(UserError, match=r"tools\[0\]"):
        asyncio.run(CompanyDataAutomation().register_company_tools(company_id, [{"name": "x"}]))
