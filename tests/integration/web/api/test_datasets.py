"""Datasets as people have them: any form of a row, any kind of a file, checked and counted."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from sqlalchemy import select

from cyrex.agents.state import data_of
from cyrex.jobs.service import get_job
from database.models import Dataset, TrainingRun
from database.session import company_session
from helox.render import question_of
from modelkit.blobs import get_blob_store
from settings import get_settings
from tests.support.web import Tenant, error_of

TRAIN = "/company-automation/train-adapter"
CHECK = "/company-automation/datasets/check"
ROWS = [{"input": f"Größe {n}?", "output": f"{n}"} for n in range(6)]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


FILES = {
    "jsonl": (JSONL.encode(), "application/jsonl"),
    "bom": (b"\xef\xbb\xbf" + JSONL.encode(), "application/x-ndjson"),
    "utf-16": (JSONL.encode("utf-16"), "application/octet-stream"),
    "array": (json.dumps(ROWS, indent=1).encode(), "application/json"),
    "csv": (
        ("input,output\r\n" + "".join(f"{r['input']},{r['output']}\r\n" for r in ROWS)).encode(),
        "text/csv",
    ),
    "tsv in gzip": (
        gzip.compress(
            ("input\toutput\n" + "".join(f"{r['input']}\t{r['output']}\n" for r in ROWS)).encode()
        ),
        "application/gzip",
    ),
    "parquet": (parquet(ROWS), "application/vnd.apache.parquet"),
}


def stored_rows(tenant: Tenant, request_id: str) -> list[dict[str, Any]]:
    with company_session(tenant.company_id) as session:
        run = session.get_one(TrainingRun, request_id)
        sha256 = session.scalar(select(Dataset.sha256).where(Dataset.dataset_id == run.dataset_id))
    lines = get_blob_store(get_settings()).read(str(sha256)).splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_any_kind_is_the_body(acme: Tenant, kind: str) -> None:
    content, content_type = FILES[kind]
    asked = acme.api.request("POST", TRAIN, data=content, content_type=content_type)
    assert asked.status_code == 202, asked.text
    assert asked.json["counts"]["forms"] == {"input+output": 6}  # type: ignore[index]
    assert stored_rows(acme, asked.json["request_id"]) == ROWS  # type: ignore[index]


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_any_kind_is_checked(acme: Tenant, kind: str) -> None:
    content, content_type = FILES[kind]
    answer = acme.api.request("POST", CHECK, data=content, content_type=content_type)
    assert answer.status_code == 200, answer.text
    report = answer.json
    assert report and report["ok"] and report["examples"] == 6
    assert report["tokens"] > 0 and report["estimate"]["steps"] > 0


def test_a_form_holds_the_file_and_the_settings(acme: Tenant) -> None:
    form = {
        "file": (io.BytesIO(FILES["csv"][0]), "rows.csv"),
        "config": '{"lora_rank": 8, "num_epochs": 2}',
        "use_qlora": "false",
        "seed": "7",
    }
    asked = acme.api.request("POST", TRAIN, data=form, content_type="multipart/form-data")
    assert asked.status_code == 202, asked.text
    view = acme.api.get(f"/company-automation/training/{asked.json['request_id']}").json  # type: ignore[index]
    assert view is not None
    assert view["config"] == {"lora_rank": 8, "num_epochs": 2}
    assert (view["use_qlora"], view["seed"]) == (False, 7)


def test_settings_stand_in_the_address_beside_a_file(acme: Tenant) -> None:
    asked = acme.api.request(
        "POST",
        TRAIN + "?seed=5&config=%7B%22lora_rank%22%3A4%7D",
        data=JSONL.encode(),
        content_type="application/jsonl",
    )
    view = acme.api.get(f"/company-automation/training/{asked.json['request_id']}").json  # type: ignore[index]
    assert view is not None and (view["seed"], view["config"]) == (5, {"lora_rank": 4})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"%PDF-1.7\n%", "is a PDF"),
        (b"PK\x03\x04" + b"\0" * 26 + b"xl/workbook.xml", "an Excel workbook (xlsx)"),
        (b"<!DOCTYPE html><html>", "a page (HTML)"),
        (gzip.compress(JSONL.encode(), mtime=0)[:-9], "broken gzip"),
        (FILES["parquet"][0][:60], "broken Parquet"),
        ("input,output\nGröße,1\n".encode("latin-1"), "is not UTF-8 (line 2"),
    ],
)
@pytest.mark.parametrize("path", [TRAIN, CHECK])
def test_another_kind_of_file_is_named(acme: Tenant, path: str, content: bytes, said: str) -> None:
    refused = acme.api.request("POST", path, data=content, content_type="application/octet-stream")
    assert said in error_of(refused, 400, "unknown_format")["message"]


def test_a_bad_row_of_a_file_is_named_by_its_line(acme: Tenant) -> None:
    content = b"input,output\na,b\nc\n"
    refused = acme.api.request("POST", TRAIN, data=content, content_type="text/csv")
    error = error_of(refused, 400, "invalid_training_data")
    assert "has 1 cells, and the header names 2" in error["message"]
    assert error["details"][0]["line"] == 3


def test_a_gzip_that_holds_too_much_is_refused(acme: Tenant) -> None:
    limit = get_settings().max_body_bytes
    content = gzip.compress(b'{"input": "' + b"a" * limit + b'", "output": "b"}')
    for path in (TRAIN, CHECK):
        refused = acme.api.request("POST", path, data=content, content_type="application/gzip")
        assert f"more than {limit} bytes" in error_of(refused, 400, "data_too_large")["message"]


ODD = [
    *ROWS,
    ROWS[0],  # a duplicate
    {**ROWS[1], "output": "another"},  # a contradiction
    {"input": "end", "output": "done<|end|>", "source": "crm"},
    {"input": "long " * 600, "output": "cut before it is answered"},
    {"prompt": "q", "completion": "a long answer " * 300},
    {"instruction": "Say it.", "input": None, "output": "it", "system": "Be kind."},
    {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "bye"},
        ]
    },
]


def test_every_row_is_counted_where_its_sender_looks(acme: Tenant) -> None:
    asked = acme.api.train(training_data=ODD)
    assert asked.status_code == 202 and asked.json is not None, asked.text
    counts = asked.json["counts"]
    assert (counts["rows"], counts["duplicates"], counts["contradictions"]) == (13, 1, 1)
    assert (counts["dropped"], counts["cut"], counts["ignored_endings"]) == (1, 2, 1)
    assert counts["control_tokens"] == {"<|end|>": 1}
    assert counts["ignored_fields"] == {"source": 1}
    assert counts["held_out"] == 0, "of fewer than 20 rows none is"
    assert counts["forms"] == {
        "input+output": 10,
        "prompt+completion": 1,
        "instruction+output": 1,
        "messages": 1,
    }
    request_id = asked.json["request_id"]
    view = acme.api.get(f"/company-automation/training/{request_id}").json
    events = acme.api.get(f"/company-automation/training/{request_id}/events").json
    assert view is not None and events is not None
    assert view["counts"] == counts
    assert events["events"][0]["data"]["counts"] == counts


def test_the_rows_that_will_be_held_out_are_counted(acme: Tenant) -> None:
    rows = [{"input": f"question {n}", "output": f"answer {n}"} for n in range(100)]
    asked = acme.api.train(training_data=rows)
    assert asked.json is not None and asked.json["counts"]["held_out"] == 10


def test_the_whole_report_as_json_and_as_a_page(acme: Tenant) -> None:
    rows = [
        *ODD,
        {"input": "Größe 3 ?", "output": "3"},
        {"input": "mail a@b.example", "output": "x"},
    ]
    answer = acme.api.post(CHECK, {"training_data": rows, "config": {"num_epochs": 2}})
    assert answer.status_code == 200 and answer.json is not None, answer.text
    report = answer.json
    assert report["counts"]["cut"] == 2 and report["counts"]["held_out"] is not None
    assert report["contradiction_pairs"][0]["lines"] == [2, 8]
    assert report["near_duplicates"]["rows"] >= 1
    assert report["personal_data"]["email"] == {"rows": 1, "lines": [15]}
    assert sum(found["rows"] for found in report["histogram"]) == 15
    assert report["settings"]["num_epochs"] == 2
    page = acme.api.post(CHECK + "?format=html", {"training_data": rows})
    assert page.content_type.startswith("text/html") and "<h2>Contradictions</h2>" in page.text
    assert "<script" not in page.text and "http" not in page.text


def test_bad_rows_are_part_of_the_report(acme: Tenant) -> None:
    report = acme.api.post(CHECK, {"training_data": [*ROWS, {"input": "x"}]}).json
    assert report is not None and not report["ok"]
    assert report["problems"] == [
        {"line": 7, "field": "output", "message": "is missing; the keys found are 'input'"}
    ]


def test_nothing_is_kept_of_a_check(acme: Tenant) -> None:
    acme.api.post(CHECK, {"training_data": ROWS})
    with company_session(acme.company_id) as session:
        assert session.scalars(select(Dataset)).all() == []


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"lora_rank": True}, "config.lora_rank"),
        ({"lora_rank": "16"}, "config.lora_rank"),
        ({"max_length": 4096}, "config.max_length"),
        ({"target_modules": ["query_key_value"]}, "config.target_modules"),
        ({"target_modules": ["q_proj", "lm_head"]}, "config.target_modules"),
        ({"epochs": 3}, "config.epochs"),
    ],
)
@pytest.mark.parametrize("path", [TRAIN, CHECK])
def test_settings_that_do_not_go_with_the_base_are_refused_at_once(
    acme: Tenant, path: str, config: dict[str, Any], param: str
) -> None:
    refused = acme.api.post(path, {"training_data": ROWS, "config": config})
    assert error_of(refused, 400, "invalid_config")["param"] == param


def test_rows_that_are_all_unweighted_are_refused_at_once(acme: Tenant) -> None:
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}]
    refused = acme.api.train(training_data=[{"messages": said}] * 3)
    error_of(refused, 400, "nothing_to_learn")


def test_a_key_that_is_there_twice_is_refused(acme: Tenant) -> None:
    raw = b'{"training_data": [{"input": "a", "input": "b", "output": "c"}]}'
    refused = acme.api.request("POST", TRAIN, data=raw, content_type="application/json")
    assert "'input' is there twice" in error_of(refused, 400, "invalid_json")["message"]


def test_a_job_keeps_the_order_of_the_tools_that_it_is_asked_with(acme: Tenant) -> None:
    properties = {name: {"type": "string"} for name in ("why", "id", "a_long_name", "b")}
    function = {"name": "close", "parameters": {"type": "object", "properties": properties}}
    data = {
        "messages": [{"role": "user", "content": "Close it"}],
        "tools": [{"type": "function", "function": function}],
    }
    job = acme.api.process(data=data).json
    assert job is not None and job["data"] == data
    with company_session(acme.company_id) as session:
        tools = question_of(data_of(get_job(session, job["job_id"]))).tools
    assert tools is not None
    assert list(tools[0]["function"]["parameters"]["properties"]) == list(properties)


@pytest.mark.parametrize(
    "data",
    [
        {"input": "Where is it?", "output": "There."},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": "hi"}], "temperature": 1},
        {"instruction": "", "input": ""},
        {"prompt": " "},
    ],
)
def test_a_job_that_asks_nothing_a_training_line_could_is_refused(acme: Tenant, data: Any) -> None:
    error = error_of(acme.api.process(data=data), 400, "invalid_data")
    assert error["param"].startswith("data.")
