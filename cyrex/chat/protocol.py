"""The protocol between the API and an inference worker for one conversation.

An answer to a conversation is no durable job. The API stores the question under a *ticket*, a key
that expires, and sends a task as a hint at it; the worker that takes the ticket answers. So a hint
that is lost, doubled or late does nothing twice, and no task's arguments hold people's words. The
answer's pieces come back on the channel of the API's process: one message holds the pieces that one
step of the engine made for all answers of this process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from database.base import Json

TASK = "conversation.answer"
CANCELS_CHANNEL = "cyrex:conversations:cancels"

# A worker reports the answers it works on this often; an answer unreported for so long is lost.
PULSE_SECONDS = 1.0
PULSE_EXPIRY_SECONDS = 8.0

Kind = Literal["started", "delta", "end", "error"]


def ticket_key(call_id: str) -> str:
    return f"cyrex:conversations:{call_id}"


def replies_channel(process_id: str) -> str:
    return f"cyrex:conversations:replies:{process_id}"


@dataclass(frozen=True, slots=True)
class Ask:
    """One turn of the model that a conversation asks for.

    conversation_id: also what the usage is metered under.
    reply_to: the channel of the process that waits for the answer.
    adapter_id, sha256: exactly who answers; None is the base model.
    grammar: kind and source of the engine's Grammar; None leaves the model free.
    seconds: from the moment that a worker takes it, until it is given up.
    logprobs: whether each token is told with its probability.
    """

    company_id: str
    conversation_id: str
    reply_to: str
    adapter_id: str | None
    sha256: str | None
    messages: list[Json]
    max_tokens: int
    seconds: float
    sampling: Json = field(default_factory=dict)
    stop: list[str] = field(default_factory=list)
    grammar: tuple[str, str] | None = None
    stream: bool = False
    logprobs: bool = False

    def dump(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def load(cls, text: str | bytes) -> Ask:
        return cls(**json.loads(text))


class Event(NamedTuple):
    """One event of one call. Numbers count from 0: a gap shows that an event was lost.

    value: for `delta` the text and the logprobs of its tokens (or None); for `end` and `error` an
    object.
    """

    call_id: str
    number: int
    kind: Kind
    value: Any


class Heard(NamedTuple):
    """A message: events in order, and, now and then, the ids of all calls the worker works on."""

    events: list[Event]
    at_work: Sequence[str]


def encode(events: Iterable[Event], at_work: Sequence[str] = ()) -> str:
    return json.dumps([list(events), list(at_work)], separators=(",", ":"))


def decode(message: bytes) -> Heard:
    """Raises ValueError or TypeError for a message of another form: anybody may publish."""
    events, at_work = json.loads(message)
    return Heard([Event(*event) for event in events], at_work)
