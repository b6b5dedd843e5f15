"""The documentation: every route, with its errors, from local files only."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from web import create_app
from web.http.openapi import DOCS_PAGE, DOCS_PREFIX, SPEC_URL

ROUTES = {
    ("post", "/company-automation/train-adapter"),
    ("post", "/company-automation/process"),
    ("get", "/company-automation/adapters"),
    ("get", "/company-automation/adapters/{adapter_id}"),
    ("get", "/company-automation/jobs"),
    ("get", "/company-automation/jobs/{job_id}"),
    ("post", "/company-automation/jobs/{job_id}/cancel"),
    ("get", "/company-automation/training"),
    ("get", "/company-automation/training/{request_id}"),
    ("get", "/company-automation/training/{request_id}/events"),
    ("post", "/company-automation/training/{request_id}/cancel"),
    ("post", "/company-automation/register-tools"),
    ("get", "/company-automation/tools"),
    ("get", "/company-automation/tools/{name}"),
    ("put", "/company-automation/tools/{name}"),
    ("patch", "/company-automation/tools/{name}"),
    ("delete", "/company-automation/tools/{name}"),
    ("post", "/company-automation/tools/{name}/test"),
    ("get", "/company-automation/memory"),
    ("delete", "/company-automation/memory"),
    ("delete", "/company-automation/memory/{memory_id}"),
    ("post", "/v1/chat/completions"),
    ("get", "/v1/models"),
    ("get", "/v1/models/{model}"),
    ("post", "/companies"),
    ("get", "/companies"),
    ("get", "/companies/{company_id}"),
    ("post", "/companies/{company_id}/api-keys"),
    ("get", "/companies/{company_id}/api-keys"),
    ("delete", "/companies/{company_id}/api-keys/{prefix}"),
    ("get", "/operations/overview"),
    ("get", "/operations/dead-letters"),
    ("get", "/operations/dead-letters/{id}"),
    ("post", "/operations/dead-letters/{id}/replay"),
    ("get", "/healthz"),
    ("get", "/readyz"),
}


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app()


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def spec(client: FlaskClient) -> dict[str, Any]:
    response = client.get(f"{DOCS_PREFIX}{SPEC_URL}")
    assert response.status_code == 200
    found: dict[str, Any] = response.json or {}
    return found


def operations(spec: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, item in spec["paths"].items()
        for method, operation in item.items()
    }


def test_every_route_is_documented(spec: dict[str, Any]) -> None:
    assert set(operations(spec)) >= ROUTES


def test_every_route_that_needs_a_key_says_so_and_shows_the_error_shape(
    spec: dict[str, Any],
) -> None:
    for (method, path), operation in operations(spec).items():
        assert operation["summary"], path
        if path in ("/healthz", "/readyz"):
            content = operation["responses"]["400"]["content"]["application/json"]
            assert content["schema"]["$ref"].endswith("/Error"), path
            continue
        assert operation["security"] == [{"bearer": []}, {"api_key": []}], path
        for status in ("400", "401", "403", "404", "503"):
            content = operation["responses"][status]["content"]["application/json"]
            assert content["schema"]["$ref"].endswith("/Error"), (method, path)
            assert content["example"]["error"]["code"]


def test_every_post_that_creates_takes_an_idempotency_key(spec: dict[str, Any]) -> None:
    for path in (
        "/company-automation/train-adapter",
        "/company-automation/process",
        "/company-automation/register-tools",
        "/companies",
        "/companies/{company_id}/api-keys",
    ):
        operation = operations(spec)["post", path]
        names = {(p["in"], p["name"]) for p in operation["parameters"]}
        assert ("header", "Idempotency-Key") in names
        assert {"409", "413", "415"} <= set(operation["responses"])


def test_what_is_limited_says_so(spec: dict[str, Any]) -> None:
    for path in (
        "/company-automation/train-adapter",
        "/company-automation/process",
        "/company-automation/tools/{name}/test",
        "/v1/chat/completions",
    ):
        refusal = operations(spec)["post", path]["responses"]["429"]
        assert "Retry-After" in refusal["description"]


def test_references_lead_somewhere(spec: dict[str, Any]) -> None:
    for name in set(re.findall(r"#/components/schemas/([\w.-]+)", str(spec))):
        assert name in spec["components"]["schemas"]


def test_the_page_loads_local_files_only(client: FlaskClient) -> None:
    assert client.get("/").headers["Location"] == DOCS_PAGE
    page = client.get(DOCS_PAGE)
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) >= 3
    for link in links:
        assert "//" not in link
        assert client.get(f"{DOCS_PREFIX}/{link}").status_code == 200, link
