"""Jobs: answered when they end in time, else at their address; cancelled; listed."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from tasks.broker.dispatch import JOBS_ENDED_CHANNEL, admit
from tests.support.database import idle_transactions
from tests.support.waiting import eventually
from tests.support.web import Api, Tenant, error_of, finish_job, newest_job
from web.live import waiting
from web.shapes import jobs as shapes

JOBS = "/company-automation/jobs"


def test_a_job_that_does_not_end_in_time_is_answered_with_its_address(acme: Tenant) -> None:
    started = time.monotonic()
    response = acme.api.process(wait=0.3, metadata={"order": 7})
    assert 0.3 <= time.monotonic() - started < 10
    assert response.status_code == 202
    job = shapes.JobView.model_validate(response.json)
    assert job.metadata == {"order": 7}
    assert response.headers["Location"] == job.location == f"{JOBS}/{job.job_id}"

    eventually(lambda: acme.api.get(job.location).json["status"] == "admitted")  # type: ignore[index]
    finish_job(acme.company_id, job.job_id)
    ended = shapes.JobView.model_validate(acme.api.get(job.location).json)
    assert (ended.status, ended.result, ended.confidence) == ("completed", "answer 1", 0.9)
    assert ended.completed_at is not None


def test_no_wait_is_answered_at_once(acme: Tenant) -> None:
    started = time.monotonic()
    assert acme.api.process(wait=0).status_code == 202
    assert time.monotonic() - started < 5  # whoever waits, waits for longer by default


def test_a_job_that_ends_while_its_client_waits_is_answered_promptly(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 60)
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(acme.api.process, wait=20)
        job_id = eventually(lambda: newest_job(acme.company_id))
        time.sleep(0.2)
        finish_job(acme.company_id, job_id)
        ended = time.monotonic()
        response = waiter.result(timeout=10)
    # The message woke it: its own next look, and the end of its patience, would have come later.
    assert time.monotonic() - ended < 10
    assert response.status_code == 200
    assert shapes.JobView.model_validate(response.json).result == "answer 1"
    assert "Location" not in response.headers


def test_a_lost_message_costs_a_delay_only(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.web.announce_end", lambda job_id: None)
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(acme.api.process, wait=20)
        finish_job(acme.company_id, eventually(lambda: newest_job(acme.company_id)))
        response = waiter.result(timeout=waiting.POLL_SECONDS + 3)
    assert response.status_code == 200


def test_a_message_that_comes_too_early_or_means_nothing_ends_no_wait(
    acme: Tenant, globex: Tenant, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as pool, redis.Redis.from_url(redis_url) as client:
        waiter = pool.submit(acme.api.process, wait=1)
        job_id = eventually(lambda: newest_job(acme.company_id))
        for message in (job_id, "unknown", b"\xff\xfe"):
            client.publish(JOBS_ENDED_CHANNEL, message)
        response = waiter.result(timeout=10)
    assert response.status_code == 202
    # The reader survived the odd message.
    test_a_job_that_ends_while_its_client_waits_is_answered_promptly(globex, monkeypatch)


def test_a_job_that_fails_is_answered_200_with_its_error(acme: Tenant) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(acme.api.process, wait=20)
        job_id = eventually(lambda: newest_job(acme.company_id))
        error = {"code": "prompt_too_long", "message": "data: 9000 tokens", "param": "data"}
        finish_job(acme.company_id, job_id, "failed", error=error)
        response = waiter.result(timeout=10)
    assert response.status_code == 200
    job = shapes.JobView.model_validate(response.json)
    assert (job.status, job.error) == ("failed", error)


def test_no_database_session_is_held_while_waiting(acme: Tenant) -> None:
    with ThreadPoolExecutor(4) as pool:
        waiters = [pool.submit(acme.api.process, wait=1.5) for _ in range(4)]
        time.sleep(0.8)
        assert idle_transactions() == 0
        assert all(waiter.result().status_code == 202 for waiter in waiters)


def test_beyond_the_seats_the_answer_is_an_immediate_202(acme: Tenant) -> None:
    waiters = acme.api.app.extensions["cyrex.waiters"]
    seats, waiters.seats = waiters.seats, 1
    try:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(acme.api.process, wait=2)
            eventually(lambda: waiters._taken == 1)
            started = time.monotonic()
            assert acme.api.process(wait=20).status_code == 202
            assert time.monotonic() - started < 10
            assert first.result().status_code == 202
    finally:
        waiters.seats = seats


def test_a_cancelled_job_ends_at_once_and_frees_its_waiter(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 60)
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(acme.api.process, wait=20)
        job_id = eventually(lambda: newest_job(acme.company_id))
        time.sleep(0.2)
        cancelled = acme.api.post(f"{JOBS}/{job_id}/cancel")
        assert cancelled.status_code == 200
        assert shapes.JobView.model_validate(cancelled.json).status == "cancelled"
        started = time.monotonic()
        response = waiter.result(timeout=10)
    assert time.monotonic() - started < 10
    assert response.status_code == 200
    assert shapes.JobView.model_validate(response.json).status == "cancelled"
    error_of(acme.api.post(f"{JOBS}/{job_id}/cancel"), 409, "already_ended")


def test_cancelling_lets_the_companys_next_job_in(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyrex.work.admission.limit_of", lambda machine: 1)
    first = shapes.JobView.model_validate(acme.api.process().json)
    second = shapes.JobView.model_validate(acme.api.process().json)
    assert acme.api.get(second.location).json["status"] == "queued"  # type: ignore[index]
    acme.api.post(f"{first.location}/cancel")
    assert acme.api.get(second.location).json["status"] == "admitted"  # type: ignore[index]


@pytest.mark.parametrize(
    "data", [{"input": "x"}, {"task": "t", "data": [1, None]}, ["a", 1], "text", 7, 2.5, False, {}]
)
def test_any_json_but_null_is_data(acme: Tenant, data: object) -> None:
    response = acme.api.process(data=data)
    assert response.status_code == 202
    assert shapes.JobView.model_validate(response.json).data == data


def test_text_of_every_script_comes_back_as_it_went(acme: Tenant) -> None:
    text = "naïve 東京 😀 \u2028 \\ \" '; DROP TABLE companies; -- \x7f"
    response = acme.api.process(data={"input": text})
    assert shapes.JobView.model_validate(response.json).data == {"input": text}


def test_jobs_are_listed_by_status_and_page(acme: Tenant) -> None:
    made = [shapes.JobView.model_validate(acme.api.process().json).job_id for _ in range(5)]
    finish_job(acme.company_id, made[0])
    done = shapes.Jobs.model_validate(acme.api.get(f"{JOBS}?status=completed").json)
    assert [job.job_id for job in done.jobs] == [made[0]]
    first = shapes.Jobs.model_validate(acme.api.get(f"{JOBS}?limit=3").json)
    assert [job.job_id for job in first.jobs] == made[:1:-1]
    rest = shapes.Jobs.model_validate(acme.api.get(f"{JOBS}?limit=3&after={first.next_after}").json)
    assert [job.job_id for job in rest.jobs] == made[1::-1]
    assert rest.next_after is None


def test_an_operator_sees_all_companies_jobs_or_one_companys(
    operator: Api, acme: Tenant, globex: Tenant
) -> None:
    acme.api.process()
    globex.api.process()
    everything = shapes.Jobs.model_validate(operator.get(JOBS).json)
    assert {acme.company_id, globex.company_id} <= {job.company_id for job in everything.jobs}
    some = shapes.Jobs.model_validate(operator.get(f"{JOBS}?company_id={acme.company_id}").json)
    assert {job.company_id for job in some.jobs} == {acme.company_id}


def test_many_clients_at_once_each_get_their_own_job(acme: Tenant, globex: Tenant) -> None:
    stop = threading.Event()

    def work(tenant: Tenant) -> None:
        while not stop.is_set():
            job_id = newest_job(tenant.company_id)
            if job_id is None:
                time.sleep(0.01)
                admit("job", tenant.company_id)
                continue
            result = {"result": f"{tenant.company_id} {job_id}", "confidence": 1.0}
            finish_job(tenant.company_id, job_id, output_data=result)

    workers = [threading.Thread(target=work, args=(tenant,)) for tenant in (acme, globex)]
    for worker in workers:
        worker.start()
    with ThreadPoolExecutor(16) as pool:
        asked = [
            (tenant, pool.submit(tenant.api.process, data={"input": n}, wait=30))
            for n in range(20)
            for tenant in (acme, globex)
        ]
        for number, (tenant, future) in enumerate(asked):
            response = future.result(timeout=60)
            assert response.status_code == 200
            job = shapes.JobView.model_validate(response.json)
            assert job.data == {"input": number // 2}
            assert job.result == f"{tenant.company_id} {job.job_id}"
    stop.set()
    for worker in workers:
        worker.join()
