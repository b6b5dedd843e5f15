"""Every status column: its states, their movers, their time limits, the reconciler's part.

This table is read by the guarded updates, the reconciler, the tests and the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
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
class OpenLimit:
    """How many rows of a company may be unfinished at a time.

    setting: its name in `settings`. noun: the rows' name in a message. retry_after_seconds: when a
    client that was refused may ask again.
    """

    setting: str
    noun: str
    retry_after_seconds: float


@dataclass(frozen=True)
class Machine:
    """The life of one kind of row.

    title: its name in the documentation. queues: the steps of its chain of tasks, in order, each
    with the queue that runs it.
    """

    kind: str
    title: str
    model: type[Base]
    key: str
    queues: Mapping[str, str]
    states: tuple[State, ...]
    claimable: tuple[str, ...]
    running: str
    failed: str
    # The setting that says how many of a company's rows `admit` lets into the broker at a time.
    # None: they do not pass through `admit`.
    broker_limit: str | None = None
    # None: what a company may have open is not limited.
    open_limit: OpenLimit | None = None
    # The states to which an operator's replay takes a failed row: before its step, or before the
    # event that starts its chain. None: a failed row stays as it is.
    revived: str | None = None
    restarted: str | None = None
    # The state of a row that was tried too often, as SQL over its columns; None: `failed`, always.
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
    def steps(self) -> tuple[str, ...]:
        return tuple(self.queues)

    @property
    def admitted(self) -> bool:
        """Whether a company's rows pass through `admit` on their way to the broker."""
        return self.broker_limit is not None

    @property
    def terminal(self) -> tuple[str, ...]:
        """The states from which no way leads to a worker: only people move what has ended."""
        return tuple(name for name in self.by_name if not self._onward(name) & {*self.claimable})

    def _onward(self, name: str) -> set[str]:
        """`name` and every state that can follow it, soon or late."""
        found, new = {name}, {name}
        while new := {to for each in new for to in self.by_name[each].to} - found:
            found |= new
        return found

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
    title="A training run",
    model=TrainingRun,
    key="request_id",
    queues={
        "accept": "bridge",
        "train": "training",
        "evaluate": "training",
        "register": "bridge",
        "announce": "bridge",
    },
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
    broker_limit="trainings_in_broker",
    open_limit=OpenLimit("open_trainings_per_company", "trainings", 60.0),
    revived="queued",
    restarted="requested",
)

JOB = Machine(
    kind="job",
    title="An automation job",
    model=Job,
    key="job_id",
    queues={"process": "inference"},
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
    broker_limit="jobs_in_broker",
    open_limit=OpenLimit("open_jobs_per_company", "jobs", 5.0),
    revived="queued",
)

ADAPTER = Machine(
    kind="adapter",
    title="An adapter",
    model=LoraAdapter,
    key="adapter_id",
    # With a receipt, `evaluate` takes a moment: `tasks.broker.dispatch` sends it to "bridge".
    queues={
        "fetch": "inference",
        "evaluate": "training",
        "warm": "inference",
        "decide": "bridge",
    },
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
        State("ready", "decide, API (promote, rollback)", ("retired", "deleted")),
        State("rejected", "decide", ("ready", "retired", "deleted")),
        State("failed", "any step, reconciler", ("deleted",)),
        State("retired", "API", ("deleted",)),
        # The row stays without its bytes and its data, so that its version is never another's.
        State("deleted", "API"),
    ),
    claimable=("announced",),
    running="announced",
    failed="failed",
    revived="announced",
    restarted="registered",
)

TOOL_CALL = Machine(
    kind="tool",
    title="A tool call",
    model=ToolCall,
    key="call_id",
    queues={"call": "tools"},
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
    broker_limit="tool_calls_in_broker",
    given_up=case((ToolCall.sent_at.is_not(None), "unknown"), else_="failed"),
)

MACHINES = {machine.kind: machine for machine in (TRAINING, JOB, ADAPTER, TOOL_CALL)}
