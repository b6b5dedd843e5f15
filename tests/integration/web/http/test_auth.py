"""API keys: who may call, for which company, and until when."""

from __future__ import annotations

import time

import pytest

from cyrex.tenants.keys import revoke_key
from database.session import operator_session
from tests.support.database import row_counts
from tests.support.web import Api, Tenant, error_of
from web.http.auth import KEY_CACHE_SECONDS, key_cache


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer cx_000000000000_" + "0" * 48},
        {"X-API-Key": "cx_000000000000_" + "0" * 48},
        {"Authorization": "Bearer cx_\xe9"},
    ],
)
def test_without_a_valid_key_nothing_is_answered(anyone: Api, headers: dict[str, str]) -> None:
    before = row_counts()
    for method, path in (
        ("GET", "/companies"),
        ("POST", "/companies"),
        ("POST", "/company-automation/train-adapter"),
        ("POST", "/company-automation/process"),
        ("GET", "/company-automation/jobs"),
        ("GET", "/company-automation/jobs/x"),
    ):
        refused = anyone.request(method, path, headers=headers, data=b"not even JSON")
        error_of(refused, 401)
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert row_counts() == before


def test_a_wrong_secret_with_a_known_prefix_is_refused(anyone: Api, acme: Tenant) -> None:
    wrong = acme.key[:-1] + ("0" if acme.key[-1] != "0" else "1")
    refused = anyone.get("/companies", headers={"Authorization": f"Bearer {wrong}"})
    error_of(refused, 401, "invalid_api_key")


def test_both_headers_carry_a_key(anyone: Api, acme: Tenant) -> None:
    for headers in (
        {"Authorization": f"bearer {acme.key}"},
        {"X-API-Key": acme.key},
    ):
        assert anyone.get("/companies", headers=headers).status_code == 200


def test_a_key_revoked_by_another_process_stops_within_seconds(operator: Api, acme: Tenant) -> None:
    assert acme.api.get("/companies").status_code == 200
    with operator_session() as session:
        assert revoke_key(session, acme.key.split("_")[1])
    time.sleep(KEY_CACHE_SECONDS + 0.1)
    error_of(acme.api.get("/companies"), 401, "invalid_api_key")


def test_a_cached_key_costs_no_look_up(acme: Tenant) -> None:
    assert acme.api.get("/companies").status_code == 200
    principal = key_cache.get(acme.key)
    assert principal is not None
    assert principal.company_id == acme.company_id


def test_an_operator_acts_for_a_company_it_names(operator: Api, acme: Tenant) -> None:
    unnamed = operator.process()
    assert error_of(unnamed, 400, "company_required")["param"] == "company_id"
    named = operator.process(company_id=acme.company_id)
    assert named.status_code == 202
    assert named.json is not None
    assert acme.api.get(named.json["location"]).status_code == 200


def test_a_company_may_leave_its_id_out_or_give_it(acme: Tenant) -> None:
    for fields in ({}, {"company_id": acme.company_id}):
        made = acme.api.process(**fields)
        assert made.status_code == 202
        assert made.json is not None
        assert made.json["company_id"] == acme.company_id
