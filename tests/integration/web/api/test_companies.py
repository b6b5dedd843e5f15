"""Companies and their keys: created, listed, issued, revoked."""

from __future__ import annotations

from sqlalchemy import select

from database.models import ApiKey
from database.session import operator_session
from tests.support.database import row_counts
from tests.support.web import Api, Tenant, error_of, new_company_id, new_tenant
from web.shapes.companies import Companies, CompanyCreated, CompanyView, IssuedKey, KeyRevoked, Keys


def test_a_company_is_created_with_a_key_that_works(operator: Api) -> None:
    company_id = new_company_id()
    made = operator.post(
        "/companies", {"company_id": company_id, "name": "Acme", "context": {"trade": "anvils"}}
    )
    assert made.status_code == 201
    created = CompanyCreated.model_validate(made.json)
    assert made.headers["Location"] == f"/companies/{company_id}"
    assert created.api_key is not None
    assert created.api_key.startswith(f"cx_{created.api_key_prefix}_")
    shown = Api(operator.app, created.api_key).get(f"/companies/{company_id}")
    assert CompanyView.model_validate(shown.json).context == {"trade": "anvils"}


def test_the_secret_is_nowhere_in_the_database(operator: Api, acme: Tenant) -> None:
    secret = acme.key.split("_")[2]
    with operator_session() as session:
        row = session.scalars(select(ApiKey).where(ApiKey.company_id == acme.company_id)).one()
    assert secret not in str(vars(row))


def test_a_company_that_exists_is_a_conflict(operator: Api, acme: Tenant) -> None:
    again = operator.post("/companies", {"company_id": acme.company_id})
    assert error_of(again, 409, "company_exists")["param"] == "company_id"


def test_companies_are_listed_page_by_page(operator: Api, acme: Tenant, globex: Tenant) -> None:
    seen: list[str] = []
    after = ""
    while True:
        page = operator.get(f"/companies?limit=1&after={after}" if after else "/companies?limit=1")
        found = Companies.model_validate(page.json)
        seen += [company.company_id for company in found.companies]
        if found.next_after is None:
            break
        after = found.next_after
    assert {acme.company_id, globex.company_id} <= set(seen)
    assert seen == sorted(seen)
    mine = Companies.model_validate(acme.api.get("/companies").json)
    assert [company.company_id for company in mine.companies] == [acme.company_id]


def test_a_key_is_issued_listed_and_revoked(operator: Api, acme: Tenant) -> None:
    keys = f"/companies/{acme.company_id}/api-keys"
    issued = acme.api.post(keys, {"name": "second"})
    assert issued.status_code == 201
    second = IssuedKey.model_validate(issued.json)
    assert second.api_key is not None
    other = Api(operator.app, second.api_key)
    assert other.get("/companies").status_code == 200

    listed = Keys.model_validate(operator.get(keys).json).api_keys
    assert [key.name for key in listed] == ["first", "second"]
    assert second.api_key not in str(listed)

    revoked = operator.delete(f"{keys}/{second.prefix}")
    assert KeyRevoked.model_validate(revoked.json).revoked
    error_of(other.get("/companies"), 401, "invalid_api_key")
    error_of(operator.delete(f"{keys}/{second.prefix}"), 404, "api_key_not_found")
    listed = Keys.model_validate(operator.get(keys).json).api_keys
    assert [key.revoked_at is not None for key in listed] == [False, True]


def test_what_is_the_operators_alone(acme: Tenant) -> None:
    before = row_counts()
    error_of(acme.api.post("/companies", {"company_id": new_company_id()}), 403)
    assert row_counts() == before


def test_a_second_tenant_cannot_revoke_the_firsts_key(
    operator: Api, acme: Tenant, globex: Tenant
) -> None:
    prefix = acme.key.split("_")[1]
    path = f"/companies/{acme.company_id}/api-keys/{prefix}"
    error_of(globex.api.delete(path), 403, "company_forbidden")
    own = f"/companies/{globex.company_id}/api-keys/{prefix}"
    error_of(globex.api.delete(own), 404, "api_key_not_found")
    error_of(operator.delete(own), 404, "api_key_not_found")
    assert acme.api.get("/companies").status_code == 200


def test_a_new_tenant_starts_with_one_key(operator: Api) -> None:
    tenant = new_tenant(operator)
    listed = tenant.api.get(f"/companies/{tenant.company_id}/api-keys")
    assert len(Keys.model_validate(listed.json).api_keys) == 1
