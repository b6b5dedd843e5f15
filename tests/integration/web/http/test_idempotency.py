"""Asked twice, done once: the same key and body get the same answer, however they come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from database.models import IdempotencyKey
from database.session import operator_session
from tests.support.database import row_counts
from tests.support.web import LINES, Api, Tenant, error_of, finish_job, new_company_id
from web.shapes.companies import CompanyCreated, IssuedKey, Keys
from web.shapes.jobs import JobView

REPLAYED = "Idempotent-Replayed"


def ask(api: Api, kind: str, key: str, **fields: Any) -> TestResponse:
    headers = {"Idempotency-Key": key}
    if kind == "train":
        return api.train(headers=headers, **fields)
    return api.process(headers=headers, **fields)


def id_of(response: TestResponse) -> str:
    assert response.json is not None
    return str(response.json.get("request_id") or response.json["job_id"])


@pytest.mark.parametrize("kind", ["train", "process"])
def test_a_repeated_request_gets_the_first_answer_and_writes_nothing(
    acme: Tenant, kind: str
) -> None:
    first = ask(acme.api, kind, "k1")
    assert REPLAYED not in first.headers
    before = row_counts()
    second = ask(acme.api, kind, "k1")
    assert second.headers[REPLAYED] == "true"
    assert (second.status_code, id_of(second)) == (first.status_code, id_of(first))
    assert second.headers["Location"] == first.headers["Location"]
    if kind == "train":
        assert second.json == first.json
    assert row_counts() == before


@pytest.mark.parametrize("kind", ["train", "process"])
def test_another_body_under_the_same_key_is_a_conflict(acme: Tenant, kind: str) -> None:
    ask(acme.api, kind, "k1")
    before = row_counts()
    other = {"seed": 1} if kind == "train" else {"data": {"input": "other"}}
    error = error_of(ask(acme.api, kind, "k1", **other), 409, "idempotency_key_reuse")
    assert error["param"] == "Idempotency-Key"
    assert row_counts() == before


@pytest.mark.parametrize("kind", ["train", "process"])
def test_without_a_key_or_under_another_it_is_another_request(acme: Tenant, kind: str) -> None:
    ids = {id_of(ask(acme.api, kind, key)) for key in ("k1", "k2")}
    ids |= {id_of(acme.api.train() if kind == "train" else acme.api.process()) for _ in range(2)}
    assert len(ids) == 4


@pytest.mark.parametrize("kind", ["train", "process"])
def test_many_at_once_do_the_work_once(acme: Tenant, kind: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, acme.api, kind, "k1") for _ in range(8)]
        responses = [future.result(timeout=30) for future in asked]
    assert {response.status_code for response in responses} == {202}
    assert len({id_of(response) for response in responses}) == 1
    assert sorted(REPLAYED in response.headers for response in responses) == [False] + [True] * 7


def test_a_refused_request_leaves_its_key_free(acme: Tenant) -> None:
    refused = ask(acme.api, "train", "k1", config={"lora_rank": 0})
    error_of(refused, 400)
    assert ask(acme.api, "train", "k1").status_code == 202


def test_a_replay_answers_with_the_jobs_present_state(acme: Tenant) -> None:
    first = ask(acme.api, "process", "k1")
    job_id = id_of(first)
    again = ask(acme.api, "process", "k1", wait=0.2)
    assert (again.status_code, id_of(again)) == (202, job_id)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, acme.api, "process", "k1", wait=20)
        finish_job(acme.company_id, job_id)
        assert waiting.result(timeout=10).status_code == 200
    ended = ask(acme.api, "process", "k1")
    assert ended.status_code == 200
    assert ended.headers[REPLAYED] == "true"
    assert JobView.model_validate(ended.json).result == "answer 1"


def test_fields_in_another_order_are_the_same_request(acme: Tenant) -> None:
    first = acme.api.post(
        "/company-automation/train-adapter",
        data=b'{"seed": 1, "training_data": [{"input": "a", "output": "b"}]}',
        content_type="application/json",
        headers={"Idempotency-Key": "k1"},
    )
    second = acme.api.post(
        "/company-automation/train-adapter",
        data=b'{"training_data": [{"output": "b", "input": "a"}], "seed": 1}',
        content_type="application/json",
        headers={"Idempotency-Key": "k1"},
    )
    assert id_of(first) == id_of(second)


def test_a_key_is_free_again_after_its_time(acme: Tenant) -> None:
    first = id_of(ask(acme.api, "process", "k1"))
    with operator_session() as session:
        session.execute(
            update(IdempotencyKey)
            .where(IdempotencyKey.owner == acme.company_id)
            .values(expires_at=func.now())
        )
    assert id_of(ask(acme.api, "process", "k1", data={"input": "other"})) != first


def test_the_operator_and_the_company_have_keys_of_their_own(operator: Api, acme: Tenant) -> None:
    mine = ask(acme.api, "process", "k1")
    theirs = ask(operator, "process", "k1", company_id=acme.company_id)
    assert id_of(mine) != id_of(theirs)


def test_a_company_is_created_once_and_its_key_shown_once(operator: Api) -> None:
    company_id = new_company_id()
    headers = {"Idempotency-Key": f"make-{company_id}"}
    first = operator.post("/companies", {"company_id": company_id}, headers=headers)
    second = operator.post("/companies", {"company_id": company_id}, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    shown = CompanyCreated.model_validate(first.json)
    replayed = CompanyCreated.model_validate(second.json)
    assert shown.api_key is not None
    assert replayed.api_key is None
    assert "not shown again" in replayed.message
    assert replayed.api_key_prefix == shown.api_key_prefix
    assert second.headers[REPLAYED] == "true"
    other = operator.post("/companies", {"company_id": company_id, "name": "x"}, headers=headers)
    error_of(other, 409, "idempotency_key_reuse")


def test_a_key_is_issued_once_and_kept_nowhere(operator: Api, acme: Tenant) -> None:
    path = f"/companies/{acme.company_id}/api-keys"
    for api in (operator, acme.api):
        first = api.post(path, {"name": "n"}, headers={"Idempotency-Key": "issue"})
        second = api.post(path, {"name": "n"}, headers={"Idempotency-Key": "issue"})
        shown = IssuedKey.model_validate(first.json)
        replayed = IssuedKey.model_validate(second.json)
        assert shown.api_key is not None
        assert (replayed.api_key, replayed.prefix) == (None, shown.prefix)
        with operator_session() as session:
            kept = session.scalars(select(IdempotencyKey)).all()
        secret = shown.api_key.split("_")[2]
        assert all(secret not in str(row.answer) for row in kept)
    listed = Keys.model_validate(acme.api.get(path).json).api_keys
    assert len(listed) == 3


def test_the_longest_key_is_taken(acme: Tenant) -> None:
    key = "~" * 255
    assert id_of(ask(acme.api, "process", key)) == id_of(ask(acme.api, "process", key))


def test_the_answer_to_a_large_training_is_small(acme: Tenant) -> None:
    lines = [{**LINES[0], "input": f"q{n}"} for n in range(500)]
    first = acme.api.train(training_data=lines, headers={"Idempotency-Key": "k1"})
    with operator_session() as session:
        row = session.scalars(
            select(IdempotencyKey).where(IdempotencyKey.owner == acme.company_id)
        ).one()
    assert row.answer == first.json
    assert len(str(row.answer)) < 1000
