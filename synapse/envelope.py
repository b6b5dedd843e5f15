"""The one shape of an event on every stream, and how an entry becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from database.base import Json
from settings import message_of
from synapse import flat, wire
from synapse.payloads import PAYLOADS, TYPES, Id, Payload
from synapse.wire import EnvelopeInvalid

__all__ = ["VERSION", "Envelope", "EnvelopeInvalid"]

VERSION = 1
MAX_FINDINGS = 5


def _known(version: int) -> int:
    if version != VERSION:
        raise ValueError(f"version {version} is not known, only {VERSION} is")
    return version


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


class Envelope(BaseModel):
    """An event. `event_id` is its producer's and the key of its one effect.

    `correlation_id` is the event that began it all: by default the event itself.
    """

    model_config = ConfigDict(frozen=True)

    event_id: Id
    type: str
    version: Annotated[int, AfterValidator(_known)] = VERSION
    company_id: Id | None
    occurred_at: Annotated[datetime, AfterValidator(_in_utc)] = Field(
        default_factory=lambda: datetime.now(UTC)
    )
    source: str = "outside"
    correlation_id: Id
    data: Json

    @cached_property
    def payload(self) -> Payload:
        """`data` as the model of its type. Raises pydantic's `ValidationError`."""
        model = PAYLOADS[self.type]
        data: Json = {"company_id": self.company_id, **self.data}
        request = model.model_fields.get("request_id")
        if request is not None and request.is_required():
            data.setdefault("request_id", self.event_id)
        return model.model_validate(data)

    @classmethod
    def of(cls, stream: str, values: Mapping[str, Any]) -> Self:
        """The event of these values, if it may stand on `stream`. Raises `EnvelopeInvalid`."""
        try:
            envelope = cls.model_validate(
                {"correlation_id": values.get("event_id", "-"), "company_id": None, **values}
            )
            expected = TYPES.get(stream, ())
            if envelope.type not in expected:
                raise EnvelopeInvalid(
                    f"type: {envelope.type!r} does not belong on {stream}"
                    f" (expected {' or '.join(expected)})"
                )
            payload = envelope.payload
        except ValidationError as error:
            raise EnvelopeInvalid(_findings(error)) from None
        if payload.company_id != envelope.company_id:
            raise EnvelopeInvalid(
                f"data.company_id: {payload.company_id!r} is not the envelope's"
                f" {envelope.company_id!r}"
            )
        return envelope

    @classmethod
    def parse(cls, stream: str, fields: Mapping[bytes, bytes] | Mapping[str, str]) -> Self:
        """The event of one stream entry, in our form or in the original's flat one.

        Raises `EnvelopeInvalid`, whose reason says which field is wrong and how.
        """
        texts = wire.decoded(fields)
        if flat.is_flat(texts):
            return cls.of(stream, flat.read(stream, texts))
        values: Json = {name: text for name, text in texts.items() if text != ""}
        if "data" in values:
            values["data"] = wire.loads("data", values["data"])
        return cls.of(stream, values)

    def to_fields(self) -> dict[str, str]:
        """The fields of one XADD."""
        return wire_fields(self.model_dump(mode="json"))


def wire_fields(dumped: Json) -> dict[str, str]:
    """The fields of one XADD, from an envelope dumped as JSON (as the outbox keeps it)."""
    fields = {name: "" if value is None else str(value) for name, value in dumped.items()}
    return {**fields, "data": wire.dumps(dumped["data"])}


def _findings(error: ValidationError) -> str:
    found = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"])
        message = message_of(item)
        found.append(f"{place}: {message}" if place else message)
    more = len(found) - MAX_FINDINGS
    return "; ".join(found[:MAX_FINDINGS]) + (f"; and {more} more" if more > 0 else "")
