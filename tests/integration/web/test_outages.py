"""Postgres or Redis away: a clear 503 with nothing written, and work goes on when they are back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from database import session as sessions
from settings import get_settings
from tasks.broker.pulse import LOOK_SECONDS
from tests.support.broker import use_broker
from tests.support.database import row_counts
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tests.support.web import Api, Tenant, error_of, finish_job, newest_job
from web import create_app
from web.shapes.health import Readiness
from web.shapes.jobs import JobView
from web.shapes.operations import Overview

CHAT = {"model": "base", "messages": [{"role": "user", "content": "Hello"}]}


class Outside:
    """The two servers, as seen through proxies that can be cut."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database = Proxy(database_url)
        self.redis = Proxy(redis_url)


@pytest.fixture(scope="module")
def outside(database_url: str, redis_url: str) -> Iterator[Outside]:
    proxies = Outside(database_url, redis_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", proxies.database.url)
        patch.setenv("REDIS_URL", proxies.redis.url)
        get_settings.cache_clear()
        sessions.dispose()
        yield proxies
        sessions.dispose()
    proxies.database.cut()
    proxies.redis.cut()


@pytest.fixture(scope="module")
def app(outside: Outside) -> Flask:
    use_broker(outside.redis.url)
    return create_app()


def test_without_postgres_everything_is_503_and_comes_back_by_itself(
    operator: Api, anyone: Api, acme: Tenant, outside: Outside
) -> None:
    before = row_counts()
    outside.database.cut()
    try:
        for refused in (
            acme.api.train(),
            acme.api.process(headers={"Idempotency-Key": "k"}),
            acme.api.process(),
            acme.api.get("/company-automation/jobs"),
            acme.api.post("/v1/chat/completions", CHAT),
            acme.api.get("/v1/models"),
            acme.api.get("/company-automation/training/x"),
            operator.get("/companies"),
            operator.post("/companies", {"company_id": "later"}),
        ):
            error_of(refused, 503, "database_unavailable")
            assert int(refused.headers["Retry-After"]) > 0
        ready = anyone.get("/readyz")
        assert ready.status_code == 503
        state = Readiness.model_validate(ready.json)
        assert (state.down, state.database, state.redis) == (["database"], "down", "ok")
        assert state.workers is None
        assert anyone.get("/healthz").status_code == 200
    finally:
        outside.database.restore()
    assert row_counts() == before
    assert acme.api.train().status_code == 202
    assert acme.api.process().status_code == 202
    assert anyone.get("/readyz").status_code == 200


def test_without_redis_nothing_is_begun_but_all_can_be_read(
    anyone: Api, acme: Tenant, outside: Outside
) -> None:
    made = JobView.model_validate(acme.api.process().json)
    before = row_counts()
    outside.redis.cut()
    time.sleep(2 * LOOK_SECONDS)  # For so long what was seen a moment ago is believed.
    try:
        for refused in (
            acme.api.train(),
            acme.api.process(),
            acme.api.train(headers={"Idempotency-Key": "k"}),
            acme.api.post("/v1/chat/completions", CHAT),
            acme.api.post("/v1/chat/completions", {**CHAT, "stream": True}),
        ):
            error_of(refused, 503, "broker_unavailable")
            assert int(refused.headers["Retry-After"]) > 0
        assert row_counts() == before
        assert acme.api.get(made.location).status_code == 200
        ready = anyone.get("/readyz")
        assert ready.status_code == 503
        assert Readiness.model_validate(ready.json).down == ["redis"]
    finally:
        outside.redis.restore()
    assert acme.api.process().status_code == 202
    assert acme.api.train(headers={"Idempotency-Key": "k"}).status_code == 202
    assert anyone.get("/readyz").status_code == 200


def test_without_redis_an_operator_sees_the_rest(operator: Api, outside: Outside) -> None:
    outside.redis.cut()
    try:
        found = operator.get("/operations/overview")
    finally:
        outside.redis.restore()
    overview = Overview.model_validate(found.json)
    assert {queue.depth for queue in overview.queues} == {None}
    assert {stream.length for stream in overview.streams} == {None}
    assert overview.rows["job"]


def test_a_replay_needs_no_broker(acme: Tenant, outside: Outside) -> None:
    headers = {"Idempotency-Key": "k"}
    first = acme.api.train(headers=headers), acme.api.process(headers=headers)
    outside.redis.cut()
    try:
        second = acme.api.train(headers=headers), acme.api.process(headers=headers)
    finally:
        outside.redis.restore()
    assert [r.status_code for r in (*first, *second)] == [202] * 4
    assert second[1].json["job_id"] == first[1].json["job_id"]  # type: ignore[index]


def test_a_job_is_cancelled_without_redis(acme: Tenant, outside: Outside) -> None:
    made = JobView.model_validate(acme.api.process().json)
    outside.redis.cut()
    try:
        cancelled = acme.api.post(f"{made.location}/cancel")
    finally:
        outside.redis.restore()
    assert JobView.model_validate(cancelled.json).status == "cancelled"


def test_redis_that_goes_away_during_a_wait_costs_a_delay_only(
    acme: Tenant, outside: Outside
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(acme.api.process, wait=20)
        job_id = eventually(lambda: newest_job(acme.company_id))
        outside.redis.cut()
        try:
            finish_job(acme.company_id, job_id)
            assert waiter.result(timeout=10).status_code == 200
        finally:
            outside.redis.restore()


def test_the_reader_hears_again_after_redis_was_away(acme: Tenant, outside: Outside) -> None:
    outside.redis.cut()
    time.sleep(0.2)
    outside.redis.restore()
    time.sleep(2.5)
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(acme.api.process, wait=20)
        job_id = eventually(lambda: newest_job(acme.company_id))
        time.sleep(0.2)
        ended = time.monotonic()
        finish_job(acme.company_id, job_id)
        assert waiter.result(timeout=10).status_code == 200
        assert time.monotonic() - ended < 1


def test_postgres_that_goes_away_during_a_wait_does_not_lose_the_job(
    acme: Tenant, outside: Outside
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(acme.api.process, wait=3)
        job_id = eventually(lambda: newest_job(acme.company_id))
        time.sleep(0.3)
        outside.database.cut()
        try:
            response = waiter.result(timeout=10)
        finally:
            outside.database.restore()
    assert response.status_code == 202
    assert JobView.model_validate(response.json).job_id == job_id


def test_when_all_connections_are_in_use_the_answer_is_503(
    acme: Tenant, anyone: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("POOL_SIZE", 1), ("POOL_OVERFLOW", 0), ("POOL_TIMEOUT_SECONDS", 0.3)):
        monkeypatch.setattr(sessions, name, value)
    sessions.dispose()
    try:
        with sessions.operator_session() as held:
            held.connection()
            refused = acme.api.get("/companies")
            error_of(refused, 503, "database_busy")
            assert anyone.get("/readyz").status_code == 503
        assert acme.api.get("/companies").status_code == 200
    finally:
        monkeypatch.undo()
        sessions.dispose()
