"""The API against a real Postgres and a real Valkey."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from kombu import pools

sys.path.insert(0, str(Path(__file__).parent))

from support import Api, Tenant, new_tenant

from cyrex.keys import issue_key
from database.session import operator_session
from tasks import app as celery_app
from tasks import dispatch
from web import create_app
from web.auth import key_cache


def use_broker(url: str) -> None:
    """Point the Celery application, which reads its settings once, at `url`."""
    dispatch.broker.cache_clear()
    pools.reset()
    celery_app._pool = None
    celery_app.amqp._producer_pool = None
    celery_app.conf.broker_url = url


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
