"""What parent and child say to each other over their socket.

Messages are pickled. Both ends are the same code on one machine, and the socket is a pair that
nobody else can open. The child sends lists: all that was done since it last sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cyrex.engine import Completion, EngineError, Request

CallName = Literal["warm", "resident", "ping"]

# ---- parent to child; the very first thing sent is the EngineConfig ----


@dataclass(frozen=True, slots=True)
class Submit:
    number: int
    request: Request


@dataclass(frozen=True, slots=True)
class Cancel:
    number: int


@dataclass(frozen=True, slots=True)
class Call:
    """Ask the engine something: `warm` takes an AdapterRef, the others nothing."""

    number: int
    name: CallName
    argument: Any = None


# ---- child to parent ----


@dataclass(frozen=True, slots=True)
class Ready:
    """The base model is loaded."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    message: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a Submit."""

    number: int
    outcome: Completion | EngineError


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a Call; `error` says why there is no value."""

    number: int
    value: Any = None
    error: str | None = None
