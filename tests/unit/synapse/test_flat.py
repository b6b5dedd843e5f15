"""The original's flat form, as its programs write it."""

from __future__ import annotations

import json

import pytest

from synapse.envelope import Envelope, EnvelopeInvalid
from synapse.payloads import (
    AdapterReady,
    AdapterRequested,
    JobRequested,
    JobUpdated,
    ModelEvent,
    TrainingRequested,
)
from synapse.streams import (
    COMPANY_AUTOMATION_JOBS,
    LORA_ADAPTER_READY,
    LORA_ADAPTER_REQUESTS,
    LORA_TRAINING_REQUESTS,
    MODEL_EVENTS,
)

LINES = [{"input": "a", "output": "b"}]


def test_a_training_request() -> None:
    envelope = Envelope.parse(
        LORA_TRAINING_REQUESTS,
        {
            "request_id": "r1",
            "company_id": "acme",
            "base_model": "mistral",
            "training_data": json.dumps(LINES),
            "config": '{"num_epochs": 2}',
            "use_qlora": "False",
        },
    )
    assert (envelope.event_id, envelope.type) == ("r1", "training.requested")
    assert (envelope.company_id, envelope.source) == ("acme", "outside")
    payload = envelope.payload
    assert isinstance(payload, TrainingRequested)
    assert payload.training_data == LINES
    assert (payload.config, payload.use_qlora) == ({"num_epochs": 2}, False)


def test_every_value_as_json() -> None:
    values = {"request_id": "r1", "company_id": "acme", "training_data": LINES, "use_qlora": True}
    written = {name: json.dumps(value) for name, value in values.items()}
    envelope = Envelope.parse(LORA_TRAINING_REQUESTS, written)
    assert (envelope.event_id, envelope.company_id) == ("r1", "acme")


def test_an_id_of_digits_stays_text() -> None:
    envelope = Envelope.parse(
        LORA_ADAPTER_REQUESTS, {"request_id": "17", "company_id": "42", "adapter_id": ""}
    )
    assert (envelope.event_id, envelope.company_id) == ("17:load", "42")
    payload = envelope.payload
    assert isinstance(payload, AdapterRequested)
    assert (payload.request_id, payload.adapter_id) == ("17", None)


def test_a_ready_adapter_without_and_with_a_request() -> None:
    entry = {
        "adapter_id": "a1",
        "company_id": "acme",
        "adapter_path": "/adapters/a1",
        "registry_path": "models/acme/1",
    }
    envelope = Envelope.parse(LORA_ADAPTER_READY, entry)
    assert envelope.event_id == "a1:ready"
    payload = envelope.payload
    assert isinstance(payload, AdapterReady)
    assert (payload.adapter_path, payload.registry_path) == ("/adapters/a1", "models/acme/1")
    answer = Envelope.parse(LORA_ADAPTER_READY, {**entry, "request_id": "r1"})
    # Not the id of the request that it answers, which the inbox has.
    assert answer.event_id == "r1:ready"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"task": "sales"}', {"task": "sales"}),
        ("analyse the sales", "analyse the sales"),
        ("[urgent] call back", "[urgent] call back"),
        ("true", True),
    ],
)
def test_the_data_of_a_job_may_be_json_or_prose(text: str, value: object) -> None:
    envelope = Envelope.parse(
        COMPANY_AUTOMATION_JOBS, {"request_id": "r1", "company_id": "acme", "data": text}
    )
    assert (envelope.event_id, envelope.type) == ("r1:job", "job.requested")
    payload = envelope.payload
    assert isinstance(payload, JobRequested)
    assert payload.data == value


def test_a_job_with_a_status_is_news_of_it() -> None:
    envelope = Envelope.parse(
        COMPANY_AUTOMATION_JOBS, {"job_id": "j1", "company_id": "acme", "status": "completed"}
    )
    assert (envelope.event_id, envelope.type) == ("j1:completed", "job.updated")
    assert isinstance(envelope.payload, JobUpdated)


def test_a_model_event() -> None:
    envelope = Envelope.parse(
        MODEL_EVENTS,
        {
            "event": "lora-adapter-ready",
            "adapter_id": "a1",
            "company_id": "acme",
            "model_path": "/adapters/a1",
        },
    )
    assert (envelope.event_id, envelope.type) == ("a1:lora-adapter-ready", "model.event")
    assert isinstance(envelope.payload, ModelEvent)


@pytest.mark.parametrize(
    ("stream", "entry", "expected"),
    [
        (LORA_TRAINING_REQUESTS, {"company_id": "acme"}, "request_id: missing"),
        (LORA_ADAPTER_READY, {"company_id": "acme"}, "request_id or adapter_id: missing"),
        (LORA_TRAINING_REQUESTS, {}, "request_id: missing"),
        (
            LORA_TRAINING_REQUESTS,
            {"request_id": "r1", "training_data": "[]"},
            "company_id: ",
        ),
        (
            LORA_TRAINING_REQUESTS,
            {"request_id": "r1", "company_id": "acme", "training_data": '[{"input"'},
            "training_data: not JSON",
        ),
        (
            LORA_TRAINING_REQUESTS,
            {"request_id": "r1", "company_id": "acme", "training_data": "[]", "seed": "many"},
            "seed: Input should be a valid integer",
        ),
        ("elsewhere", {"request_id": "r1"}, "elsewhere is not one of the channels"),
    ],
)
def test_the_reason_names_the_field(stream: str, entry: dict[str, str], expected: str) -> None:
    with pytest.raises(EnvelopeInvalid) as caught:
        Envelope.parse(stream, entry)
    assert expected in caught.value.reason
