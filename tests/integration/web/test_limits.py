"""A company that has too much open is told to come back, and nothing of its request stays."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import delete, func, select

from cyrex.tenants import quotas as limits
from database.base import new_id
from database.models import DeadLetter, Job, TrainingRun
from database.session import operator_session
from database.transitions import JOB
from settings import get_settings
from synapse.consumer import Consumer
from synapse.relay import Relay
from synapse.streams import COMPANY_AUTOMATION_JOBS, CONSUMED, LORA_TRAINING_REQUESTS, connect
from tasks.bridge.effects import effect
from tests.support import rows
from tests.support.database import row_counts
from tests.support.waiting import together
from tests.support.web import LINES, Api, Tenant, error_of, finish_job
from web.http import body
from web.shapes.jobs import JobView

LIMIT = 3


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Both limits; call it for others."""

    def change(number: int) -> None:
        monkeypatch.setenv("OPEN_JOBS_PER_COMPANY", str(number))
        monkeypatch.setenv("OPEN_TRAININGS_PER_COMPANY", str(number))
        get_settings.cache_clear()

    change(LIMIT)
    yield change
    monkeypatch.undo()
    get_settings.cache_clear()


def test_a_job_too_many_is_refused_and_leaves_nothing(acme: Tenant, globex: Tenant) -> None:
    made = [acme.api.process() for _ in range(LIMIT)]
    assert [response.status_code for response in made] == [202] * LIMIT
    before = row_counts()
    for headers in ({}, {"Idempotency-Key": "k"}):
        refused = acme.api.process(headers=headers)
        error = error_of(refused, 429, "too_many_open_jobs")
        assert "OPEN_JOBS_PER_COMPANY" in error["message"]
        assert error["type"] == "rate_limit_error"
        assert error["details"] == {"limit": "OPEN_JOBS_PER_COMPANY", "value": LIMIT}
        assert int(refused.headers["Retry-After"]) == 5
    assert row_counts() == before
    assert globex.api.process().status_code == 202, "another company's"

    first = JobView.model_validate(made[0].json)
    finish_job(acme.company_id, first.job_id)
    # The key of the refused request was not used up.
    assert acme.api.process(headers={"Idempotency-Key": "k"}).status_code == 202
    again = acme.api.process(headers={"Idempotency-Key": "k"})
    assert again.status_code == 202, "a replay opens nothing"
    error_of(acme.api.process(), 429, "too_many_open_jobs")


def test_so_many_large_uploads_at_a_time(
    acme: Tenant, globex: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_REQUEST_BYTES", "1024")
    get_settings.cache_clear()
    large = [*LINES, {"input": "x" * 1024, "output": "y"}]
    coming_in = sum(body._uploads.take(acme.company_id) for _ in range(body.MAX_UPLOADS))
    try:
        before = row_counts()
        error_of(acme.api.train(training_data=large), 429, "too_many_uploads")
        assert row_counts() == before
        assert globex.api.train(training_data=large).status_code == 202, "another company's"
        assert acme.api.train().status_code == 202, "a small one"
    finally:
        for _ in range(coming_in):
            body._uploads.leave(acme.company_id)
    for refused in ([*large, {"input": "no answer"}], large, large):
        acme.api.train(training_data=refused)
    assert body._uploads._taken == 0, "each is given back, however its request ends"


def test_a_training_too_many_is_refused_and_leaves_nothing(acme: Tenant) -> None:
    made = [acme.api.train() for _ in range(LIMIT)]
    before, blobs = row_counts(), _blobs()
    refused = acme.api.train(training_data=[{"input": new_id(), "output": "x"}])
    assert "OPEN_TRAININGS_PER_COMPANY" in error_of(refused, 429)["message"]
    assert int(refused.headers["Retry-After"]) == 60
    assert row_counts() == before
    assert _blobs() == blobs, "its data was not stored"
    request_id = made[0].json["request_id"]  # type: ignore[index]
    assert acme.api.post(f"/company-automation/training/{request_id}/cancel").status_code == 200
    assert acme.api.train().status_code == 202


def _blobs() -> int:
    return sum(1 for path in get_settings().blob_dir.rglob("*") if path.is_file())


@pytest.mark.parametrize("ended", [state.name for state in JOB.states if not state.to])
def test_what_has_ended_is_not_counted(acme: Tenant, ended: str) -> None:
    for _ in range(LIMIT):
        rows.job(acme.company_id, status=ended)
    assert acme.api.process().status_code == 202


def test_requests_at_once_do_not_slip_past(acme: Tenant) -> None:
    answered = together([acme.api.process] * 12)
    codes = [response.status_code for response in answered]
    assert sorted(codes) == [202] * LIMIT + [429] * (12 - LIMIT)


def test_far_from_the_limit_nobody_waits_for_anybody(
    acme: Tenant, limit: Callable[[int], None]
) -> None:
    limit(limits.NEAR + 10)
    with operator_session() as session:
        # Somebody holds the company's row.
        session.execute(
            select(Job.job_id).where(Job.company_id == acme.company_id).with_for_update()
        )
        from cyrex.tenants.service import lock_company

        assert lock_company(session, acme.company_id)
        with operator_session() as other:
            limits.require_place(other, JOB, acme.company_id)


# From outside, by the streams.


def test_an_event_too_many_is_set_aside_with_the_reason_and_can_be_replayed(
    operator: Api, acme: Tenant, redis_url: str
) -> None:
    redis = connect(redis_url)
    redis.flushdb()
    with operator_session() as session:
        session.execute(delete(DeadLetter))
    for number in range(LIMIT + 2):
        fields = {"company_id": acme.company_id, "request_id": f"{acme.company_id}-{number}"}
        redis.xadd(COMPANY_AUTOMATION_JOBS, {**fields, "data": "x"})  # type: ignore[dict-item]
        data = json.dumps(LINES)
        redis.xadd(LORA_TRAINING_REQUESTS, {**fields, "training_data": data})  # type: ignore[dict-item]
    stop = threading.Event()
    relay, consumer = Relay(redis, stop), Consumer(redis, CONSUMED, "bridge@test", effect, stop)
    _turn(relay, consumer)
    assert (_count(Job, acme), _count(TrainingRun, acme)) == (LIMIT, LIMIT)
    with operator_session() as session:
        letters = session.scalars(select(DeadLetter).order_by(DeadLetter.id)).all()
    assert len(letters) == 4
    assert {letter.payload["outcome"] for letter in letters} == {"refused"}
    assert all("may have no more" in letter.reason for letter in letters)

    open_job = rows.get(Job, f"{acme.company_id}-0:job")
    acme.api.post(f"/company-automation/jobs/{open_job.job_id}/cancel")
    (letter, *_) = [found for found in letters if found.kind == COMPANY_AUTOMATION_JOBS]
    assert operator.post(f"/operations/dead-letters/{letter.id}/replay").status_code == 200
    _turn(relay, consumer)
    assert _count(Job, acme) == LIMIT + 1
    redis.close()


def _turn(relay: Relay, consumer: Consumer) -> None:
    while relay.run_once():
        pass
    for _ in range(3):
        consumer.run_once(block_ms=20)


def _count(model: type[Job] | type[TrainingRun], tenant: Tenant) -> int:
    with operator_session() as session:
        query = select(func.count()).select_from(model)
        return session.scalar(query.where(model.company_id == tenant.company_id)) or 0
