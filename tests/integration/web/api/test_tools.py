"""Tools over HTTP: registered all or none, shown without secrets, called once to test them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from cyrex.tools.sealing import main as secrets_command
from database.models import CompanyTool, IdempotencyKey
from database.session import operator_session
from tests.support.broker import use_broker
from tests.support.database import row_counts
from tests.support.proxy import Proxy
from tests.support.tool_server import ToolServer, tool_server, variables
from tests.support.web import Api, Tenant, error_of
from web.api import tools
from web.shapes import tools as shapes

REGISTER = "/company-automation/register-tools"
TOOLS = "/company-automation/tools"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
CRM = {
    "name": "crm_lookup",
    "endpoint": "https://crm.example.com/api/lookup",
    "auth": {"type": "bearer", "token": "t0p-secret"},
    "headers": {"X-Tenant": "7", "X-Api-Key": "t0p-key"},
    "description": "Lookup customer in CRM",
    "rate_limit": {"requests": 5, "window": 60},
}


@pytest.fixture
def server(redis_url: str) -> Iterator[ToolServer]:
    with (
        tool_server() as running,
        variables(TOOL_ALLOWED_HOSTS=running.host, TOOL_SECRETS_KEY=OLD),
    ):
        yield running


pytestmark = pytest.mark.usefixtures("server")


def register(api: Api, *tools: dict[str, Any], **options: Any) -> shapes.ToolsRegistered:
    response = api.post(REGISTER, {"tools": list(tools)}, **options)
    assert response.status_code == 200, response.text
    return shapes.ToolsRegistered.model_validate(response.json)


def get(api: Api, name: str) -> shapes.ToolView:
    return shapes.ToolView.model_validate(api.get(f"{TOOLS}/{name}").json)


def try_tool(api: Api, name: str, **arguments: Any) -> shapes.ToolTested:
    response = api.post(f"{TOOLS}/{name}/test", {"arguments": arguments})
    assert response.status_code == 200, response.text
    return shapes.ToolTested.model_validate(response.json)


def test_a_tool_is_registered_and_its_secrets_are_seen_no_more(
    acme: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = acme.api.post(REGISTER, {"company_id": acme.company_id, "tools": [CRM]})
    made = shapes.ToolsRegistered.model_validate(answer.json)
    assert made.registered == ["crm_lookup"]
    assert made.message == "1 tool registered"
    listed, single = acme.api.get(TOOLS), acme.api.get(f"{TOOLS}/crm_lookup")
    tool = get(acme.api, "crm_lookup")
    assert (tool.method, tool.auth, tool.idempotent) == ("POST", {"type": "bearer"}, False)
    assert (tool.headers, tool.secret_headers) == ({"X-Tenant": "7"}, ["X-Api-Key"])
    assert tool.parameters == {"type": "object", "additionalProperties": {"type": "string"}}
    for text in (answer.text, listed.text, single.text, caplog.text):
        assert "t0p" not in text
    with operator_session() as session:
        row = session.scalars(
            select(CompanyTool).where(CompanyTool.company_id == acme.company_id)
        ).one()
    assert "t0p" not in str(row.tool_config)
    assert row.secrets is not None
    assert b"t0p" not in row.secrets


def test_parameters_keep_the_order_of_their_schema(acme: Tenant) -> None:
    """In which a model that was trained on it writes its calls."""
    properties = {name: {"type": "string"} for name in ("why", "id", "a_long_name", "b")}
    register(acme.api, {**CRM, "parameters": {"type": "object", "properties": properties}})
    parameters = get(acme.api, "crm_lookup").parameters
    assert list(parameters["properties"]) == list(properties)


def test_all_or_none(acme: Tenant) -> None:
    register(acme.api, CRM)
    before = row_counts()
    bad = [
        ({"endpoint": "http://crm.example.com/"}, "tools[1].endpoint"),
        ({"auth": {"type": "bearer"}}, "tools[1].auth.token"),
        ({"rate_limit": {"requests": 0, "window": 1}}, "tools[1].rate_limit.requests"),
        ({"name": "crm_lookup"}, "tools[1].name"),
        ({"parameters": {"type": "string"}}, "tools[1].parameters"),
        ({"surprise": 1}, "tools[1].surprise"),
    ]
    for fields, param in bad:
        first = {**CRM, "description": "changed"}
        second = {"name": "erp", "endpoint": "https://erp.example.com/", **fields}
        refused = acme.api.post(REGISTER, {"tools": [first, second]})
        assert error_of(refused, 400)["param"] == param
        assert "t0p" not in refused.text
    assert error_of(acme.api.post(REGISTER, {"tools": []}), 400)["param"] == "tools"
    assert row_counts() == before
    assert get(acme.api, "crm_lookup").description == "Lookup customer in CRM"


def test_a_name_is_registered_again(acme: Tenant) -> None:
    register(acme.api, CRM)
    register(acme.api, {"name": "crm_lookup", "endpoint": "https://other.example.com/"})
    tool = get(acme.api, "crm_lookup")
    assert (tool.auth, tool.secret_headers, tool.rate_limit) == (None, [], None)
    assert len(acme.api.get(TOOLS).json["tools"]) == 1  # type: ignore[index]


def test_a_company_has_so_many_tools_and_no_more(acme: Tenant) -> None:
    many = [{"name": f"t{n}", "endpoint": "https://x.example.com/"} for n in range(100)]
    register(acme.api, *many)
    register(acme.api, many[0])
    error_of(acme.api.post(REGISTER, {"tools": [CRM]}), 400, "too_many_tools")


def test_the_same_key_registers_once(acme: Tenant) -> None:
    headers = {"Idempotency-Key": "k"}
    first = acme.api.post(REGISTER, {"tools": [CRM]}, headers=headers)
    acme.api.delete(f"{TOOLS}/crm_lookup")
    again = acme.api.post(REGISTER, {"tools": [CRM]}, headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json == first.json
    error_of(acme.api.get(f"{TOOLS}/crm_lookup"), 404, "tool_not_found")
    with operator_session() as session:
        assert "t0p" not in str(session.scalars(select(IdempotencyKey.answer)).all())


def test_a_tool_is_changed_replaced_and_deleted(acme: Tenant, server: ToolServer) -> None:
    register(acme.api, {**CRM, "endpoint": server.url("/a")})
    url = f"{TOOLS}/crm_lookup"
    changed = acme.api.request("PATCH", url, json={"description": "new", "rate_limit": None})
    assert changed.status_code == 200, changed.text
    acme.api.request("PATCH", url, json={"endpoint": server.url("/b")})
    try_tool(acme.api, "crm_lookup", email="jo")
    assert server.seen[0].path == "/b"
    assert server.seen[0].headers["Authorization"] == "Bearer t0p-secret"
    assert server.seen[0].headers["X-Api-Key"] == "t0p-key"

    put = {"endpoint": server.url("/c"), "method": "GET"}
    replaced = acme.api.request("PUT", url, json=put)
    assert shapes.ToolView.model_validate(replaced.json).description == ""
    try_tool(acme.api, "crm_lookup", email="jo")
    assert (server.seen[1].method, server.seen[1].query) == ("GET", {"email": ["jo"]})
    assert "Authorization" not in server.seen[1].headers

    for method, body, param in (
        ("PATCH", {"description": None}, "description"),
        ("PATCH", {"method": "X"}, "method"),
        ("PATCH", {"name": "other"}, "name"),
        ("PUT", {"method": "GET"}, "endpoint"),
        ("PUT", {**put, "name": "other"}, "name"),
    ):
        assert error_of(acme.api.request(method, url, json=body), 400)["param"] == param
    assert acme.api.delete(url).json == {"name": "crm_lookup", "deleted": True}
    error_of(acme.api.delete(url), 404, "tool_not_found")
    error_of(acme.api.request("PATCH", url, json={}), 404, "tool_not_found")
    error_of(acme.api.request("PUT", url, json=put), 404, "tool_not_found")


def test_secrets_do_not_follow_an_endpoint_to_another_host(
    acme: Tenant, server: ToolServer
) -> None:
    register(acme.api, {**CRM, "headers": {}})
    url = f"{TOOLS}/crm_lookup"
    moved = {"endpoint": server.url("/thief")}
    refused = error_of(acme.api.request("PATCH", url, json=moved), 400, "secrets_required")
    assert refused["param"] == "auth"
    done = acme.api.request("PATCH", url, json={**moved, "auth": None})
    assert shapes.ToolView.model_validate(done.json).auth is None


def test_a_test_call_says_how_it_went(acme: Tenant, server: ToolServer) -> None:
    tool = {"name": "t", "endpoint": server.answers("/ok", 200, {"name": "Jo"})}
    register(acme.api, tool)
    found = try_tool(acme.api, "t", email="jo@example.com")
    assert (found.status, found.status_code, found.body) == ("completed", 200, {"name": "Jo"})
    assert found.seconds < 5
    assert server.seen[0].json == {"email": "jo@example.com"}

    register(acme.api, {**tool, "endpoint": server.answers("/no", 404, {"why": "gone"})})
    found = try_tool(acme.api, "t")
    assert (found.status, found.status_code, found.body) == ("failed", 404, {"why": "gone"})
    assert (found.error or {})["code"] == "http_error"

    register(acme.api, {**tool, "endpoint": server.answers("/long", 200, ["x" * 9000])})
    found = try_tool(acme.api, "t")
    assert found.truncated
    assert len(found.body) == 4000

    inside = f"https://localhost:{server.port}/"
    register(acme.api, {**tool, "endpoint": inside})
    found = try_tool(acme.api, "t")
    assert (found.status, (found.error or {})["code"]) == ("failed", "address_refused")
    refused = acme.api.post(f"{TOOLS}/t/test", {"arguments": {"email": 1}})
    assert error_of(refused, 400, "invalid_arguments")["param"] == "arguments.email"


def test_one_companys_test_calls_leave_room_for_anothers(
    acme: Tenant, globex: Tenant, server: ToolServer
) -> None:
    tool = {"name": "t", "endpoint": server.url("/t"), "rate_limit": {"requests": 1, "window": 60}}
    for tenant in (acme, globex):
        register(tenant.api, tool)
    slow = sum(tools._tests.take(acme.company_id) for _ in range(tools.MAX_TESTS))
    try:
        assert slow == tools.MAX_TESTS - 1
        error_of(acme.api.post(f"{TOOLS}/t/test", {}), 429, "too_many_tests")
        try_tool(globex.api, "t")
    finally:
        for _ in range(slow):
            tools._tests.leave(acme.company_id)
    # What was refused took no turn of the tool's.
    try_tool(acme.api, "t")


def test_a_test_call_is_under_the_rate_limit(
    acme: Tenant, server: ToolServer, redis_url: str
) -> None:
    limit = {"requests": 1, "window": 60}
    register(acme.api, {"name": "t", "endpoint": server.url("/x"), "rate_limit": limit})
    try_tool(acme.api, "t")
    refused = acme.api.post(f"{TOOLS}/t/test", {})
    error_of(refused, 429, "rate_limited")
    assert 30 < int(refused.headers["Retry-After"]) <= 60
    proxy = Proxy(redis_url)
    use_broker(proxy.url)
    with variables(REDIS_URL=proxy.url):
        proxy.cut()
        error_of(acme.api.post(f"{TOOLS}/t/test", {}), 503, "broker_unavailable")
    use_broker(redis_url)
    assert len(server.seen) == 1


def test_without_a_key_no_secret_is_taken(acme: Tenant) -> None:
    with variables(TOOL_SECRETS_KEY=""):
        error_of(acme.api.post(REGISTER, {"tools": [CRM]}), 503, "no_secrets_key")
        register(acme.api, {"name": "open", "endpoint": "https://x.example.com/"})


def test_keys_are_changed_without_registering_again(acme: Tenant, server: ToolServer) -> None:
    register(acme.api, {**CRM, "endpoint": server.url("/x"), "rate_limit": None})
    with variables(TOOL_SECRETS_KEY=f"{NEW},{OLD}", TOOL_ALLOWED_HOSTS=server.host):
        assert secrets_command(["rotate"]) == 0
    with variables(TOOL_SECRETS_KEY=NEW, TOOL_ALLOWED_HOSTS=server.host):
        assert try_tool(acme.api, "crm_lookup").status == "completed"
        assert server.seen[0].headers["Authorization"] == "Bearer t0p-secret"
        # Back, for the tests that follow.
    with variables(TOOL_SECRETS_KEY=f"{OLD},{NEW}"):
        assert secrets_command(["rotate"]) == 0
    with variables(TOOL_SECRETS_KEY=NEW):
        assert secrets_command(["rotate"]) == 1
        error_of(acme.api.post(f"{TOOLS}/crm_lookup/test", {}), 503, "secrets_unreadable")


def test_another_companys_tools_do_not_exist(acme: Tenant, globex: Tenant, operator: Api) -> None:
    register(acme.api, CRM)
    before = row_counts()
    url = f"{TOOLS}/crm_lookup"
    put = {"endpoint": "https://x.example.com/"}
    for method, path, body in (
        ("GET", url, None),
        ("PUT", url, put),
        ("PATCH", url, {}),
        ("DELETE", url, None),
        ("POST", f"{url}/test", {}),
    ):
        error_of(globex.api.request(method, path, json=body), 404, "tool_not_found")
        there = f"{path}?company_id={acme.company_id}"
        error_of(globex.api.request(method, there, json=body), 403, "company_forbidden")
        error_of(operator.request(method, path, json=body), 400, "company_required")
    theirs = {"company_id": acme.company_id, "tools": [CRM]}
    error_of(globex.api.post(REGISTER, theirs), 403, "company_forbidden")
    assert globex.api.get(TOOLS).json == {"tools": []}
    assert row_counts() == before
    assert operator.get(f"{url}?company_id={acme.company_id}").status_code == 200
    # The same name is each company's own.
    register(globex.api, {"name": "crm_lookup", **put})
    assert get(acme.api, "crm_lookup").endpoint == CRM["endpoint"]
