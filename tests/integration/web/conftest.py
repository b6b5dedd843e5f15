"""The API against a real Postgres and a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from cyrex.tenants.keys import issue_key
from database.session import operator_session
from tests.support.broker import use_broker
from tests.support.web import Api, Tenant, new_tenant
from web import create_app
from web.http.auth import key_cache


@pytest.fixture(scope="module")
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    use_broker(redis_url)
    key_cache._known.clear()
    yield create_app()


@pytest.fixture(scope="module")
def operator(app: Flask) -> Api:
    with operator_session() as session:
        return Api(app, issue_key(session, "operator", None, "tests"))


@pytest.fixture(scope="module")
def anyone(app: Flask) -> Api:
    """A client without a key."""
    return Api(app, None)


@pytest.fixture
def acme(operator: Api) -> Tenant:
    return new_tenant(operator, "acme")


@pytest.fixture
def globex(operator: Api) -> Tenant:
    return new_tenant(operator, "globex")
