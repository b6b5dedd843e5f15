"""What cannot be done is refused: status, shape and field are right, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from settings import get_settings
from tests.support.blob_places import point_at
from tests.support.database import row_counts
from tests.support.s3_server import S3Server
from tests.support.web import LINES, Api, Tenant, error_of, new_company_id

TRAIN = "/company-automation/train-adapter"
PROCESS = "/company-automation/process"


@pytest.fixture(autouse=True)
def nothing_written(operator: Api, acme: Tenant) -> Iterator[None]:
    """Every test of this module must leave all tables and the blob store as they were."""
    blobs = get_settings().blob_dir
    files = sorted(blobs.rglob("*")) if blobs.exists() else []
    before = row_counts()
    yield
    assert row_counts() == before
    assert (sorted(blobs.rglob("*")) if blobs.exists() else []) == files


@pytest.mark.parametrize(
    "company_id", ["", " ", "a b", "-a", "a/b", "../x", "a" * 64, "é", "a;drop", "a\n"]
)
def test_a_malformed_company_id(operator: Api, company_id: str) -> None:
    for refused in (
        operator.train(company_id=company_id),
        operator.process(company_id=company_id),
        operator.post("/companies", {"company_id": company_id}),
        operator.get("/company-automation/jobs", query_string={"company_id": company_id}),
        operator.get("/company-automation/adapters", query_string={"company_id": company_id}),
    ):
        assert error_of(refused, 400, "invalid_company_id")["param"] == "company_id"


def test_an_unknown_company(operator: Api) -> None:
    unknown = new_company_id("unknown")
    for refused in (
        operator.train(company_id=unknown),
        operator.process(company_id=unknown),
        operator.get(f"/companies/{unknown}"),
        operator.get(f"/companies/{unknown}/api-keys"),
        operator.post(f"/companies/{unknown}/api-keys", {}),
        operator.delete(f"/companies/{unknown}/api-keys/000000000000"),
        operator.get(f"/company-automation/jobs?company_id={unknown}"),
        operator.get(f"/company-automation/training?company_id={unknown}"),
        operator.get(f"/company-automation/adapters?company_id={unknown}"),
    ):
        assert error_of(refused, 404, "company_not_found")["param"] == "company_id"


def calling(arguments: str) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ([], "training_data"),
        ({}, "training_data"),
        ("text", "training_data"),
        (None, "training_data"),
        ([LINES[0], "text"], "training_data[1]"),
        ([LINES[0], '{"input": "a", "output": "b"}'], "training_data[1]"),
        ([LINES[0], 7], "training_data[1]"),
        ([LINES[0], {"input": "a"}], "training_data[1]"),
        ([*LINES[:3], {"input": "a", "output": ""}], "training_data[3]"),
        ([{"messages": [{"role": "user", "content": "a"}]}], "training_data[0]"),
        ([{"messages": [{"role": "nobody", "content": "a"}]}], "training_data[0]"),
        (
            [{"messages": [{"role": "user", "content": "a"}, calling('{"a": NaN}')]}],
            "training_data[0].messages[1].tool_calls[0].function.arguments",
        ),
    ],
)
def test_malformed_training_data_names_line_and_field(acme: Tenant, data: Any, param: str) -> None:
    error = error_of(acme.api.train(training_data=data), 400)
    assert error["param"].startswith(param)
    assert param in error["message"]


def test_a_missing_field_names_line_and_field(acme: Tenant) -> None:
    error = error_of(acme.api.train(training_data=[LINES[0], {"input": "a"}]), 400)
    assert error["code"] == "invalid_training_data"
    assert "output" in error["message"]
    assert error["details"][0]["line"] == 2


def test_too_many_examples(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_TRAINING_EXAMPLES", "3")
    get_settings.cache_clear()
    error = error_of(acme.api.train(), 400, "too_many_examples")
    monkeypatch.undo()
    get_settings.cache_clear()
    assert "3" in error["message"]


@pytest.mark.parametrize(
    ("config", "param", "said"),
    [
        ({"lora_rank": 0}, "config.lora_rank", "greater than or equal to 1"),
        ({"lora_rank": 100_000}, "config.lora_rank", "less than or equal to"),
        ({"lora_rank": "many"}, "config.lora_rank", "integer"),
        ({"learning_rate": -1}, "config.learning_rate", "greater than 0"),
        ({"num_epochs": 10_000}, "config.num_epochs", "less than or equal to"),
        ({"no_such_setting": 1}, "config.no_such_setting", "is not a setting"),
        ({"target_modules": []}, "config.target_modules", "at least one module"),
        ([], "config", "dictionary"),
    ],
)
def test_a_config_out_of_range_names_field_and_limit(
    acme: Tenant, config: Any, param: str, said: str
) -> None:
    error = error_of(acme.api.train(config=config), 400)
    assert error["param"] == param
    assert said in error["message"]


def test_a_base_model_that_is_not_served(acme: Tenant) -> None:
    error = error_of(acme.api.train(base_model="/no/such/model"), 400, "unknown_base_model")
    assert error["param"] == "base_model"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"use_qlora": "yes"}, "use_qlora"),
        ({"use_qlora": 1}, "use_qlora"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"company_id": 7}, "company_id"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_wrong_types_and_unknown_fields_of_a_training(
    acme: Tenant, fields: dict[str, Any], param: str
) -> None:
    assert error_of(acme.api.train(**fields), 400)["param"] == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"data": None}, "data"),
        ({"task_type": ""}, "task_type"),
        ({"task_type": "a b"}, "task_type"),
        ({"task_type": 7}, "task_type"),
        ({"use_adapter": "true"}, "use_adapter"),
        ({"wait": -1}, "wait"),
        ({"wait": 301}, "wait"),
        ({"wait": "30"}, "wait"),
        ({"wait": True}, "wait"),
        ({"metadata": []}, "metadata"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_wrong_types_and_unknown_fields_of_a_job(
    acme: Tenant, fields: dict[str, Any], param: str
) -> None:
    assert error_of(acme.api.process(**fields), 400)["param"] == param


def test_a_missing_field(acme: Tenant) -> None:
    error = error_of(acme.api.post(PROCESS, {}), 400, "invalid_request")
    assert error["param"] == "data"


@pytest.mark.parametrize("path", [TRAIN, PROCESS, "/companies"])
def test_bodies_that_are_no_json_object(operator: Api, acme: Tenant, path: str) -> None:
    api = operator if path == "/companies" else acme.api
    as_json = {"content_type": "application/json"}
    broken = error_of(api.post(path, data=b'{"a": 1,\n "b": }', **as_json), 400, "invalid_json")
    assert "line 2 column 7" in broken["message"]
    for raw in (b"", b"[]", b"7", b'"text"', b"null", b'{"a": NaN}', b'{"a": Infinity}', b"\xff"):
        error_of(api.post(path, data=raw, **as_json), 400, "invalid_json")
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    assert "levels" in error_of(api.post(path, data=deep, **as_json), 400)["message"]


@pytest.mark.parametrize("path", [TRAIN, PROCESS, "/companies"])
@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_another_content_type(operator: Api, path: str, content_type: str | None) -> None:
    refused = operator.post(path, data=b'{"data": 1}', content_type=content_type)
    error = error_of(refused, 415, "unsupported_media_type")
    assert "application/json" in error["message"]


def test_characters_that_cannot_be_stored(acme: Tenant) -> None:
    for escape in ("\\u0000", "\\ud800"):
        raw = '{"data": {"input": ["a", "b?"]}, "wait": 0}'.replace("?", escape)
        refused = acme.api.post(PROCESS, data=raw.encode(), content_type="application/json")
        assert error_of(refused, 400, "invalid_json")["param"] == "data.input[1]"
        raw = '{"training_data": [{"input": "a?", "output": "b"}]}'.replace("?", escape)
        refused = acme.api.post(TRAIN, data=raw.encode(), content_type="application/json")
        assert error_of(refused, 400, "invalid_json")["param"] == "training_data[0].input"


def test_a_body_that_is_too_large(acme: Tenant) -> None:
    settings = get_settings()
    for path, name, limit in (
        (TRAIN, "MAX_BODY_BYTES", settings.max_body_bytes),
        (PROCESS, "MAX_REQUEST_BYTES", settings.max_request_bytes),
        ("/v1/chat/completions", "MAX_REQUEST_BYTES", settings.max_request_bytes),
        ("/company-automation/agents", "MAX_REQUEST_BYTES", settings.max_request_bytes),
    ):
        raw = b'{"data": "' + b"a" * limit + b'"}'
        refused = acme.api.post(path, data=raw, content_type="application/json")
        error = error_of(refused, 413, "body_too_large")
        assert f"{name}, which is {limit} bytes" in error["message"]


@pytest.mark.parametrize("key", ["", "k" * 256, "k\tk", "ké"])
def test_a_malformed_idempotency_key(acme: Tenant, key: str) -> None:
    refused = acme.api.process(headers={"Idempotency-Key": key})
    assert error_of(refused, 400)["param"] == "Idempotency-Key"


@pytest.mark.parametrize(
    "path",
    [
        "/company-automation/jobs?status=done",
        "/company-automation/jobs?limit=0",
        "/company-automation/jobs?limit=201",
        "/company-automation/jobs?limit=x",
        "/company-automation/jobs?after=%00",
        "/company-automation/jobs?stauts=queued",
        "/company-automation/training?status=done",
        "/company-automation/adapters?status=done",
        "/company-automation/memory?q=%00",
        "/v1/models/a%00",
        "/company-automation/jobs/%00",
        "/company-automation/training/%00",
        "/company-automation/adapters/" + "x" * 129,
        "/company-automation/training/x/events?after=-1",
        "/company-automation/training/x/events?after=99999999999999999999",
    ],
)
def test_parameters_that_mean_nothing(acme: Tenant, path: str) -> None:
    error = error_of(acme.api.get(path), 400)
    assert error["param"]


def test_things_that_do_not_exist(acme: Tenant, operator: Api) -> None:
    for api in (acme.api, operator):
        error_of(api.get("/company-automation/jobs/none"), 404, "job_not_found")
        error_of(api.post("/company-automation/jobs/none/cancel"), 404, "job_not_found")
        error_of(api.get("/company-automation/training/none"), 404, "training_not_found")
        error_of(api.get("/company-automation/training/none/events"), 404, "training_not_found")
        error_of(api.post("/company-automation/training/none/cancel"), 404, "training_not_found")
        error_of(api.get("/company-automation/adapters/none"), 404, "adapter_not_found")


def test_routes_that_do_not_exist(anyone: Api, acme: Tenant) -> None:
    for api in (anyone, acme.api):
        error_of(api.get("/nowhere"), 404, "route_not_found")
        wrong = api.delete("/company-automation/process")
        error_of(wrong, 405, "method_not_allowed")
        assert "POST" in wrong.headers["Allow"]


def test_a_failure_of_ours_is_a_500_without_a_trace(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("cyrex.jobs.service.create_job", fail)
    refused = acme.api.process(headers={"Idempotency-Key": "fails"})
    error_of(refused, 500, "internal_error")
    assert "secret" not in refused.text


def test_a_blob_store_that_takes_nothing_is_a_503(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("BLOB_DIR", str(blocked / "blobs"))
    get_settings.cache_clear()
    try:
        refused = acme.api.train(headers={"Idempotency-Key": "no-store"})
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    error_of(refused, 503, "storage_unavailable")
    assert refused.headers["Retry-After"]


def test_s3_with_a_wrong_secret_is_a_503_and_a_line_for_the_operator(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch, s3_server: S3Server
) -> None:
    bucket = s3_server.bucket("refused")
    point_at(monkeypatch, replace(bucket, secret_access_key="not-the-secret"))
    get_settings.cache_clear()
    try:
        with capture_logs() as logs:
            refused = acme.api.train(headers={"Idempotency-Key": "wrong-secret"})
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    error_of(refused, 503, "storage_unavailable")
    assert "credentials" not in refused.text, "an operator's concern"
    (said,) = [entry["error"] for entry in logs if entry["event"] == "storage_unavailable"]
    assert "refuses the credentials (SignatureDoesNotMatch)" in said
    assert "not-the-secret" not in said


def test_a_large_correct_body_is_checked_quickly(acme: Tenant) -> None:
    lines = [{"input": f"q {n}", "output": "a"} for n in range(20_000)]
    lines[-1] = {"input": "q"}
    error = error_of(acme.api.train(training_data=lines), 400, "invalid_training_data")
    assert error["param"].startswith("training_data[19999]")
    assert len(json.dumps(error)) < 10_000
