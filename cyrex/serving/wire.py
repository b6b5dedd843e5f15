"""The messages between parent and child over their socket.

Messages are pickled. Both ends are the same code on one machine, and the socket is one that only
processes of one user can open. The child sends lists: all that its engine said in a step, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cyrex.engine import Completion, Delta, EngineConfig, EngineError, Request

QueryName = Literal["warm", "resident", "stats", "ping"]

# ---- parent to child ----


@dataclass(frozen=True, slots=True)
class Terms:
    """The first message: the terms on which an engine is started or taken over.

    place: who names the same one may take it over; with None it dies with its parent.
    linger_seconds: how long it waits for that.
    base_sha256: of the base model's files, which may be replaced in place.
    code_sha256: of what both ends run.
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
    """Ask the engine something: `warm` takes an AdapterRef, the others nothing."""

    number: int
    name: QueryName
    argument: Any = None


# ---- child to parent ----

# The answer of an engine to a process that wants to become its parent: taken (it is the parent
# now), busy (it has a living one), unlike (started on other terms), unknown (another user's).
# mute: the engine did not answer.
Meeting = Literal["taken", "busy", "unlike", "unknown", "mute"]


@dataclass(frozen=True, slots=True)
class Ready:
    """The base model is loaded."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    message: str


# The text that a step added to the answer of Submit `number`. A plain tuple: there is one a token,
# and pickle writes a tuple in a third of the time of a dataclass.
DeltaRow = tuple[int, str, list[int], list[float], list[list[tuple[int, float]]]]


def row_of(number: int, delta: Delta) -> DeltaRow:
    return (number, delta.text, delta.tokens, delta.logprobs, delta.top)


def delta_of(row: DeltaRow) -> Delta:
    return Delta(*row[1:])


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a Submit."""

    number: int
    outcome: Completion | EngineError


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The end of a Query; `error` says why there is no value."""

    number: int
    value: Any = None
    error: str | None = None


Said = DeltaRow | Done | QueryAnswer
