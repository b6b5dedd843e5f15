"""The original's form of an event: the payload's own keys as the entry's fields, no envelope.

    XADD lora_training_requests * request_id r1 company_id acme training_data '[{"input": …}]'

Values other than text are JSON. `training.requested` takes its request id as event id. The other
types add a suffix to theirs: a program that answers a request, or asks for its adapter, may repeat
that request's id, and the answer must not look like a repetition of the question.
"""

from __future__ import annotations

from typing import Any

from database.base import Json
from synapse import wire
from synapse.payloads import (
    ADAPTER_READY,
    ADAPTER_REQUESTED,
    JOB_REQUESTED,
    JOB_UPDATED,
    MODEL_EVENT,
    PAYLOADS,
    TRAINING_REQUESTED,
    TYPES,
)
from synapse.wire import EnvelopeInvalid

# The keys that name an event of a type, the first that is there; and what follows its value.
EVENT_ID: dict[str, tuple[tuple[str, ...], str]] = {
    TRAINING_REQUESTED: (("request_id",), ""),
    ADAPTER_READY: (("request_id", "adapter_id"), ":ready"),
    ADAPTER_REQUESTED: (("request_id",), ":load"),
    JOB_REQUESTED: (("request_id", "job_id"), ":job"),
    JOB_UPDATED: (("job_id",), ":{status}"),
    MODEL_EVENT: (("request_id", "adapter_id"), ":{event}"),
}

MUST_BE_JSON = frozenset({"training_data", "validation_data", "config", "metadata"})
# All other declared fields are text; a field that is not declared may be JSON too.
MAY_BE_JSON = frozenset({"data", "use_qlora", "use_adapter", "replace", "seed", "version"})


def is_flat(texts: dict[str, str]) -> bool:
    """Whether an entry is in the original's form: it has no `event_id`, nor `type` with `data`."""
    return "event_id" not in texts and not ("type" in texts and "data" in texts)


def read(stream: str, texts: dict[str, str]) -> Json:
    """The values of the envelope that the flat entry stands for. Raises `EnvelopeInvalid`."""
    kind = _type(stream, texts)
    data = {name: _value(kind, name, text) for name, text in texts.items() if text != ""}
    return {
        "event_id": _event_id(kind, data),
        "type": kind,
        "company_id": data.get("company_id"),
        "data": data,
    }


def _type(stream: str, texts: dict[str, str]) -> str:
    types = TYPES.get(stream)
    if types is None:
        raise EnvelopeInvalid(f"type: missing, and {stream} is not one of the channels")
    return JOB_UPDATED if JOB_UPDATED in types and "status" in texts else types[0]


def _value(kind: str, name: str, text: str) -> Any:
    if name in MUST_BE_JSON:
        return wire.loads(name, text)
    declared = name in PAYLOADS[kind].model_fields
    # Some programs write every value as JSON, text too.
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    if declared and name not in MAY_BE_JSON and not quoted:
        return text
    try:
        return wire.loads(name, text)
    except EnvelopeInvalid:
        return text


def _event_id(kind: str, data: Json) -> str:
    names, suffix = EVENT_ID[kind]
    value = next((data[name] for name in names if isinstance(data.get(name), str)), None)
    if value is None:
        raise EnvelopeInvalid(f"{' or '.join(names)}: missing")
    return f"{value}{suffix.format(**{'status': '', 'event': '', **data})}"
