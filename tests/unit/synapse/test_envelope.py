"""The envelope: there and back, and every way in which an entry is none."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from synapse.envelope import Envelope, EnvelopeInvalid
from synapse.payloads import PAYLOADS, TYPES, AdapterReady, JobRequested, TrainingRequested
from synapse.streams import (
    CHANNELS,
    COMPANY_AUTOMATION_JOBS,
    LORA_ADAPTER_READY,
    LORA_TRAINING_REQUESTS,
    MODEL_EVENTS,
)
from synapse.wire import MAX_DEPTH


def fields(**changes: str | None) -> dict[bytes, bytes]:
    """A good training request as Redis returns it, with changes; None drops a field."""
    values: dict[str, str | None] = {
        "event_id": "e1",
        "type": "training.requested",
        "company_id": "acme",
        "data": '{"dataset_id":"d1"}',
        **changes,
    }
    return {name.encode(): value.encode() for name, value in values.items() if value is not None}


def reason(stream: str, entry: dict[bytes, bytes]) -> str:
    with pytest.raises(EnvelopeInvalid) as caught:
        Envelope.parse(stream, entry)
    return caught.value.reason


def test_fields_and_back() -> None:
    envelope = Envelope(
        event_id="e1",
        type="training.requested",
        company_id="acme",
        occurred_at=datetime(2026, 11, 22, 10, 30, 5, 123456, tzinfo=UTC),
        source="cyrex",
        correlation_id="c1",
        data={"dataset_id": "d1", "config": {"num_epochs": 2}, "note": "größer – 大"},
    )
    sent = envelope.to_fields()
    assert set(sent) == {
        *("event_id", "type", "version", "company_id"),
        *("occurred_at", "source", "correlation_id", "data"),
    }
    assert all(isinstance(value, str) for value in sent.values())
    assert json.loads(sent["data"]) == envelope.data
    assert Envelope.parse(LORA_TRAINING_REQUESTS, sent) == envelope


def test_what_an_outside_program_may_leave_out() -> None:
    envelope = Envelope.parse(LORA_TRAINING_REQUESTS, fields())
    assert (envelope.version, envelope.source, envelope.correlation_id) == (1, "outside", "e1")
    assert envelope.occurred_at.tzinfo is not None
    payload = envelope.payload
    assert isinstance(payload, TrainingRequested)
    assert (payload.request_id, payload.company_id) == ("e1", "acme")
    assert envelope.data == {"dataset_id": "d1"}


def test_a_time_without_zone_is_utc() -> None:
    envelope = Envelope.parse(LORA_TRAINING_REQUESTS, fields(occurred_at="2026-11-22T10:00:00"))
    assert envelope.occurred_at == datetime(2026, 11, 22, 10, tzinfo=UTC)


def test_an_adapter_has_no_request_unless_told() -> None:
    entry = fields(type="adapter.ready", data='{"adapter_id":"a1"}')
    payload = Envelope.parse(LORA_ADAPTER_READY, entry).payload
    assert isinstance(payload, AdapterReady)
    assert payload.request_id is None


def test_unknown_keys_of_the_data_are_kept() -> None:
    entry = fields(type="job.requested", data='{"data":"hello","urgency":3}')
    payload = Envelope.parse(COMPANY_AUTOMATION_JOBS, entry).payload
    assert isinstance(payload, JobRequested)
    assert payload.model_extra == {"urgency": 3}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"event_id": None}, "event_id: Field required"),
        ({"event_id": ""}, "event_id: Field required"),
        ({"event_id": "two words"}, "event_id: "),
        ({"event_id": "x" * 201}, "event_id: "),
        # It would be the run's: the API could not show it, and its folder would be another's.
        ({"event_id": "order/7"}, "request_id: String should match pattern"),
        ({"data": '{"dataset_id":"d","request_id":"../x"}'}, "request_id: String should match"),
        ({"data": None}, "data: Field required"),
        ({"data": "{"}, "data: not JSON"),
        ({"data": "[1]"}, "data: Input should be a valid dictionary"),
        ({"data": '{"dataset_id":NaN}'}, "data: not JSON: NaN is no JSON value"),
        ({"data": '{"dataset_id":1e999}'}, "data: not JSON: 1e999 is out of range"),
        ({"data": '{"dataset_id":"d","a":["\\u0000"]}'}, "data: holds a NUL"),
        ({"data": '{"dataset_id":"d","\\ud800":1}'}, "data: holds a NUL or a half surrogate"),
        ({"data": "[" * 100_000 + "]" * 100_000}, "data: nested deeper than 100 levels"),
        ({"data": "{}"}, "exactly one of dataset_id and training_data is needed"),
        ({"data": '{"training_data":"x"}'}, "training_data: Input should be a valid list"),
        ({"data": '{"dataset_id":7}'}, "dataset_id: Input should be a valid string"),
        (
            {"data": '{"dataset_id":"d","company_id":"other"}'},
            "data.company_id: 'other' is not the envelope's 'acme'",
        ),
        ({"company_id": None}, "company_id: "),
        ({"version": "2"}, "version: version 2 is not known, only 1 is"),
        ({"version": "one"}, "version: Input should be a valid integer"),
        ({"occurred_at": "yesterday"}, "occurred_at: "),
        ({"source": "a\x00b"}, "'source': holds a NUL"),
        (
            {"type": "adapter.ready"},
            "'adapter.ready' does not belong on lora_training_requests (expected training.requ",
        ),
    ],
)
def test_the_reason_names_the_field(changes: dict[str, str | None], expected: str) -> None:
    assert expected in reason(LORA_TRAINING_REQUESTS, fields(**changes))


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 5_000])
def test_depth_has_a_limit_of_its_own_and_not_the_stacks(levels: int) -> None:
    def data(levels: int) -> str:
        return '{"event":"e","a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

    entry = fields(type="model.event", data=data(MAX_DEPTH))
    assert Envelope.parse(MODEL_EVENTS, entry).data["event"] == "e"
    entry = fields(type="model.event", data=data(levels))
    assert reason(MODEL_EVENTS, entry) == f"data: nested deeper than {MAX_DEPTH} levels"


def test_bytes_that_are_no_text() -> None:
    entry = {**fields(), b"source": b"\xff\xfe"}
    assert reason(LORA_TRAINING_REQUESTS, entry) == "b'source': not UTF-8"


def test_an_escaped_backslash_is_no_nul() -> None:
    entry = fields(data=json.dumps({"dataset_id": "d", "path": "C:\\u0000"}))
    assert Envelope.parse(LORA_TRAINING_REQUESTS, entry).data["path"] == "C:\\u0000"


def test_many_findings_are_cut_short() -> None:
    data = json.dumps(
        {"config": 1, "use_qlora": "x", "seed": "y", "dataset_id": 1, "base_model": 2}
    )
    entry = fields(data=data, version="x", event_id=" ", occurred_at="x", company_id=" ")
    assert len(reason(LORA_TRAINING_REQUESTS, entry).split("; ")) <= 6


def test_every_channel_has_types_and_every_type_a_payload() -> None:
    assert set(TYPES) == set(CHANNELS)
    assert {name for names in TYPES.values() for name in names} == set(PAYLOADS)


def test_a_model_event_needs_no_company() -> None:
    entry = fields(type="model.event", company_id=None, data='{"event":"loaded"}')
    assert Envelope.parse(MODEL_EVENTS, entry).company_id is None
