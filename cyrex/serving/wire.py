"""The messages between parent and child over their socket.

Messages are pickled: both ends run the same code on one machine, and only processes of one user can
open the socket. The child sends lists: all messages of an engine's step, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cyrex.engine import Completion, Delta, EngineConfig, EngineError, Request

QueryName = Literal["warm", "resident", "stats", "ping"]

# ---- parent to child ----


@dataclass(frozen=True, slots=True)
class Terms:
    """The first message: an engine is started with these terms, and taken over on equal ones only.

    place: name of the takeover's address; with None the engine dies with its parent.
    linger_seconds: how long the engine waits for its next parent.
    base_sha256: of the base model's files, which may change under the same path.
    code_sha256: see `takeover.code_sha256`.
    """

    config: EngineConfig
    place: str | None
    linger_seconds: float
    base_sha256: str
    code_sha256: str


@dataclass(frozen=True, slots=True)
class Submit:
    number: int
    request: Request


@dataclass(frozen=True, slots=True)
class Cancel:
    number: int


@dataclass(frozen=True, slots=True)
class Query:
    """A question to the engine. `argument`: an AdapterRef for `warm`, None for the others."""

    number: int
    name: QueryName
    argument: Any = None


# ---- child to parent ----

# An engine's answer to a process that wants to become its parent: taken (it is the parent now),
# busy (the engine's parent lives), unlike (other terms), unknown (another user's process).
# mute: the engine did not answer.
TakeoverReply = Literal["taken", "busy", "unlike", "unknown", "mute"]


@dataclass(frozen=True, slots=True)
class Ready:
    """The base model is loaded."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    message: str


# A Delta of Submit `number`, as a plain tuple: there is one for each token, and pickle writes a
# tuple in a third of the time of a dataclass.
DeltaRow = tuple[int, str, list[int], list[float], list[list[tuple[int, float]]]]


def row_of(number: int, delta: Delta) -> DeltaRow:
    return (number, delta.text, delta.tokens, delta.logprobs, delta.top)


def delta_of(row: DeltaRow) -> Delta:
    return Delta(*row[1:])


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome of a Submit."""

    number: int
    outcome: Completion | EngineError


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The answer to a Query; `error` says why there is no value."""

    number: int
    value: Any = None
    error: str | None = None


EngineMessage = DeltaRow | Done | QueryAnswer
