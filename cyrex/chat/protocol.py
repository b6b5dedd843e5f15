"""What the API and an inference worker say to each other about a conversation.

An answer to a conversation is no durable job. The API puts what is asked under a *ticket*, a key
that expires, and hints at it with a task; the worker that takes the ticket answers, so a hint that
is lost, doubled or late does nothing twice, and what people say is in no task's arguments. Pieces
of the answer come back on the channel of the API's process: one message holds what all of this
process's answers got in one step of the engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from database.base import Json

TASK = "conversation.answer"
CANCELS_CHANNEL = "cyrex:conversations:cancels"

# A worker names the answers that it is at so often; after so long without a word they are lost.
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
    """One thing said of one call. Numbers count from 0: a gap shows that something was lost.

    value: for `delta` the text and the logprobs of its tokens (or None); for `end` and `error` an
    object.
    """

    call_id: str
    number: int
    kind: Kind
    value: Any


class Heard(NamedTuple):
    """A message: events in order, and, now and then, every call that the worker is at."""

    events: list[Event]
    at_work: Sequence[str]


def encode(events: Iterable[Event], at_work: Sequence[str] = ()) -> str:
    return json.dumps([list(events), list(at_work)], separators=(",", ":"))


def decode(message: bytes) -> Heard:
    """Raises ValueError or TypeError for what no worker has sent: anybody may publish."""
    events, at_work = json.loads(message)
    return Heard([Event(*event) for event in events], at_work)
