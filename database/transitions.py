"""Every status column: its states, who moves them, for how long, and what the reconciler does.

This table is read by the guarded updates, the reconciler, the tests and the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, case

from database.base import Base
from database.models import Job, LoraAdapter, ToolCall, TrainingRun

MAX_FAILURES = 3
# A hint that brought no claim for so long is given again, then at doubling intervals: the queue
# may simply be long, and a second hint for a row that waits in it does no good.
HINT_SECONDS = 5.0
# An event sent so long ago that no inbox has was lost with its stream.
EVENT_SECONDS = 30.0
# A worker that gave no sign of life for so long is dead.
HEARTBEAT_EXPIRY_SECONDS = 8.0


@dataclass(frozen=True)
class State:
    """`to`: the allowed next states. `patience_seconds`: how long a row may stand still before the
    reconciler takes it up (None: for any time)."""

    name: str
    moved_by: str
    to: tuple[str, ...] = ()
    patience_seconds: float | None = None
    reconciler: str = "nothing"


@dataclass(frozen=True)
class Machine:
    """The life of one kind of row. `steps` is the order of its chain of tasks."""

    kind: str
    model: type[Base]
    key: str
    steps: tuple[str, ...]
    states: tuple[State, ...]
    claimable: tuple[str, ...]
    running: str
    failed: str
    # Whether a company's rows pass through `admit` on their way to the broker.
    admitted: bool
    # The states to which an operator's replay takes a failed row: before its step, or before the
    # event that starts its chain. None: a failed row stays as it is.
    revived: str | None = None
    restarted: str | None = None
    # What a row is that was tried too often, as SQL over its columns; None: `failed`, always.
    given_up: ColumnElement[str] | None = None
    by_name: dict[str, State] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {state.name: state for state in self.states})
        for state in self.states:
            unknown = set(state.to) - set(self.by_name)
            assert not unknown, f"{self.kind}.{state.name} leads to unknown {unknown}"
        again = {self.revived, self.restarted} - {None}
        assert again <= set(self.by_name), f"{self.kind}: a replay leads to unknown {again}"

    def sources(self, target: str) -> tuple[str, ...]:
        """The states from which a row may move to `target`."""
        return tuple(state.name for state in self.states if target in state.to)

    @property
    def terminal(self) -> tuple[str, ...]:
        return tuple(state.name for state in self.states if not state.to)

    def steps_from(self, step: str) -> tuple[str, ...]:
        return self.steps[self.steps.index(step) :]

    def after(self, step: str) -> str | None:
        """The step that follows `step`, or None after the last."""
        following = self.steps_from(step)[1:]
        return following[0] if following else None


ADMIT = "calls admit for companies with room, the longest waiting first"
RESEND = "sends the outbox event again while no inbox has it"
REISSUE = "publishes the remaining chain again when no worker has claimed it"
FREE = "frees the lease of a dead worker, counts the failure, publishes again or sets aside"

TRAINING = Machine(
    kind="training",
    model=TrainingRun,
    key="request_id",
    steps=("accept", "train", "evaluate", "register", "announce"),
    states=(
        State(
            "requested",
            "API",
            ("queued", "failed", "cancelled"),
            EVENT_SECONDS,
            f"{RESEND}; fails it when the event was set aside",
        ),
        State("queued", "bridge", ("admitted", "failed", "cancelled"), None, ADMIT),
        State("admitted", "admit", ("running", "failed", "cancelled"), HINT_SECONDS, REISSUE),
        State(
            "running",
            "training and bridge workers",
            ("running", "succeeded", "failed", "cancelled"),
            HEARTBEAT_EXPIRY_SECONDS,
            FREE,
        ),
        State("succeeded", "bridge worker (announce)"),
        State("failed", "any step, reconciler"),
        State("cancelled", "API, or the step that sees the request"),
    ),
    claimable=("admitted", "running"),
    running="running",
    failed="failed",
    admitted=True,
    revived="queued",
    restarted="requested",
)

JOB = Machine(
    kind="job",
    model=Job,
    key="job_id",
    steps=("process",),
    states=(
        State(
            "queued",
            "API, bridge, the end of a tool call",
            ("admitted", "failed", "cancelled"),
            None,
            ADMIT,
        ),
        State(
            "admitted",
            "API, admit, the end of a tool call",
            ("running", "failed", "cancelled"),
            HINT_SECONDS,
            REISSUE,
        ),
        State(
            "running",
            "inference worker",
            ("running", "waiting", "completed", "failed", "cancelled"),
            HEARTBEAT_EXPIRY_SECONDS,
            FREE,
        ),
        State(
            "waiting",
            "inference worker (a step that calls a tool)",
            ("admitted", "queued", "failed", "cancelled"),
            None,
            "resumes it when its tool call has ended, or its time is up",
        ),
        State("completed", "inference worker"),
        State("failed", "inference worker, reconciler"),
        State("cancelled", "API, inference worker"),
    ),
    claimable=("admitted", "running"),
    running="running",
    failed="failed",
    admitted=True,
    revived="queued",
)

ADAPTER = Machine(
    kind="adapter",
    model=LoraAdapter,
    key="adapter_id",
    steps=("fetch", "evaluate", "warm", "decide"),
    states=(
        State(
            "registered",
            "bridge worker (register)",
            ("announced", "failed"),
            EVENT_SECONDS,
            f"{RESEND}; fails it when the event was set aside or its run ended without one",
        ),
        State(
            "announced",
            "bridge",
            ("announced", "ready", "rejected", "failed"),
            HINT_SECONDS,
            f"{REISSUE}; {FREE}",
        ),
        State("ready", "decide", ("retired",)),
        State("rejected", "decide", ("retired",)),
        State("failed", "any step, reconciler"),
        State("retired", "API"),
    ),
    claimable=("announced",),
    running="announced",
    failed="failed",
    admitted=False,
    revived="announced",
    restarted="registered",
)

TOOL_CALL = Machine(
    kind="tool",
    model=ToolCall,
    key="call_id",
    steps=("call",),
    states=(
        State(
            "queued",
            "inference worker (a step that calls a tool)",
            ("admitted", "failed"),
            None,
            ADMIT,
        ),
        State("admitted", "admit", ("running", "failed"), HINT_SECONDS, REISSUE),
        State(
            "running",
            "tools worker",
            ("running", "completed", "failed", "unknown"),
            HEARTBEAT_EXPIRY_SECONDS,
            f"{FREE}; a call that was sent is not sent again unless its tool is idempotent",
        ),
        State("completed", "tools worker"),
        State("failed", "tools worker, reconciler"),
        State("unknown", "tools worker: sent, and no answer is known"),
    ),
    claimable=("admitted", "running"),
    running="running",
    failed="failed",
    admitted=True,
    given_up=case((ToolCall.sent_at.is_not(None), "unknown"), else_="failed"),
)

MACHINES = {machine.kind: machine for machine in (TRAINING, JOB, ADAPTER, TOOL_CALL)}
