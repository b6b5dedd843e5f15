"""A worker's lease of one row: what a step holds while it runs, and how the step can end.

The methods of `Lease` are guarded updates, which name the attempt and the owner: a worker that is
no longer the owner changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from database.base import storable
from database.claims import Lost
from database.guarded import claiming, updating, writing, writing_also
from database.models import DeadLetter
from database.session import company_session
from database.transitions import MAX_FAILURES, Machine

# How often a step that asks `should_stop` writes its row at most.
RENEW_SECONDS = 1.0
MAX_REASON_CHARACTERS = 2_000

InTransaction = Callable[[Session, Any], None]
# Joins the transaction of a claim; see `Lease.claimed`.
OnClaim = Callable[[Session, Any], Any]
# A row that the broker is to be told of after the commit.
Hint = tuple[Machine, Any]


class GivenBack(Exception):
    """The worker leaves in good order: the step goes to another, and no failure is counted."""


def _stays() -> bool:
    return False


@dataclass
class Lease:
    """The right to write one row: (row, attempt, owner). `owner` is a worker's id.

    `leaving` tells whether the worker shuts down, for a step that is not to outlast that.
    `claimed` is what the claim's transaction has read for the step's work.
    """

    machine: Machine
    company_id: str
    row_id: str
    step: str
    attempt: int
    owner: str
    leaving: Callable[[], bool] = _stays
    claimed: Any = field(default=None, init=False)
    _cancelled: bool = field(default=False, init=False)
    _renewed_at: float = field(default=float("-inf"), init=False)

    @classmethod
    def held(cls, machine: Machine, row: Any) -> Self:
        """The lease under which `row`, as it was read, is owned."""
        row_id = getattr(row, machine.key)
        owner = str(row.lease_owner)
        return cls(machine, row.company_id, row_id, str(row.step), row.attempt, owner)

    def claim(self, session: Session) -> Any | None:
        """Take the lease. None: it is not to be had."""
        return session.execute(
            claiming(self.machine.kind),
            {
                "of_row": self.row_id,
                "of_step": self.step,
                "of_attempt": self.attempt,
                "for_owner": self.owner,
            },
        ).scalar_one_or_none()

    def write(self, session: Session, **values: Any) -> Any:
        """Write while holding the lease. Raises `Lost` when it is held no more."""
        kind = self.machine.kind
        fixed = {name: value for name, value in values.items() if isinstance(value, ColumnElement)}
        sent = {name: value for name, value in values.items() if name not in fixed}
        names = tuple(sent)
        row = session.execute(
            writing_also(kind, names, fixed) if fixed else writing(kind, names),
            {"of_row": self.row_id, "of_attempt": self.attempt, "of_owner": self.owner}
            | {f"to_{name}": value for name, value in sent.items()},
        ).scalar_one_or_none()
        if row is None:
            raise Lost(f"{kind} {self.row_id}: attempt {self.attempt} is no longer the owner")
        return row

    def renew(self, **values: Any) -> Any:
        """`write` in a transaction of its own."""
        with company_session(self.company_id) as session:
            return self.write(session, **values)

    def should_stop(self, news: Callable[[], dict[str, Any]] = dict) -> bool:
        """True if the step is to end early: the worker leaves, or somebody cancels the row.

        Each question reads the row. Every `RENEW_SECONDS` it renews the lease too, with the values
        that `news` gives, and raises `Lost` when the lease is held no more.
        """
        if self.leaving():
            return True
        if time.monotonic() - self._renewed_at >= RENEW_SECONDS:
            self._renewed_at = time.monotonic()
            self._cancelled = bool(self.renew(**news()).cancel_requested)
        else:
            self._cancelled = self._cancel_requested()
        return self._cancelled

    def _cancel_requested(self) -> bool:
        """A look only: the row may be another's by now."""
        model: Any = self.machine.model
        query = select(model.cancel_requested).where(
            getattr(model, self.machine.key) == self.row_id
        )
        with company_session(self.company_id) as session:
            return bool(session.scalar(query))

    def stopped(self) -> Finish:
        """The end of a step that was stopped. Raises `GivenBack` unless the row is cancelled."""
        if not self._cancelled:
            raise GivenBack("the worker is leaving")
        return Finish("cancelled")

    def advance(self, session: Session, **values: Any) -> Any:
        """End the step well: give the lease back and stand before the next step."""
        following = self.machine.after(self.step)
        kind = self.machine.kind
        assert following is not None, f"{kind}: {self.step} is the last step; use finish"
        return self.write(
            session,
            lease_owner=None,
            step=following,
            failures=0,
            published_at=func.now(),
            **values,
        )

    def repeat(self, session: Session, step: str, **values: Any) -> Any:
        """Give the lease back and stand before an earlier step, under a new attempt."""
        return self.write(
            session,
            lease_owner=None,
            step=step,
            published_at=func.now(),
            attempt=self.attempt + 1,
            **values,
        )

    def finish(self, session: Session, target: str, **values: Any) -> Any:
        """End the row in a terminal state."""
        self._check(target)
        return self.write(session, lease_owner=None, status=target, **values)

    def pause(self, session: Session, target: str, **values: Any) -> Any:
        """Give the lease back and wait, in a state that no worker claims, to be moved on."""
        self._check(target)
        ends = (*self.machine.claimable, *self.machine.terminal)
        assert target not in ends, f"{target} is no place to wait"
        return self.write(session, lease_owner=None, status=target, failures=0, **values)

    def _check(self, target: str) -> None:
        machine = self.machine
        assert target in machine.by_name[machine.running].to, f"{machine.kind}: not to {target}"

    def release(
        self, session: Session, row: Any, reason: str, counts: bool = True, wait: bool = False
    ) -> Any | None:
        """Give the step back, for another try; None when the lease was held no more.

        row: as the owner last read it. The attempt grows, so that what the old owner still writes
        changes nothing. After `MAX_FAILURES` the row fails and is set aside as a dead letter.
        `counts=False`: nothing is wrong with the row. `wait=True`: the next try is due in a while,
        later each time.
        """
        machine = self.machine
        model: Any = machine.model
        reason = storable(reason)[:MAX_REASON_CHARACTERS]
        # Before the update, which may write the new values into `row`.
        failures = row.failures + int(counts)
        entry = {
            "at": datetime.now(UTC).isoformat(),
            "step": self.step,
            "attempt": self.attempt,
            "owner": self.owner,
            "reason": reason,
        }
        history = [*row.history, entry]
        values: dict[str, Any] = {
            "lease_owner": None,
            "attempt": self.attempt + 1,
            "failures": failures,
            "history": history,
            "published_at": func.now() if wait else None,
            "publications": len(history) if wait else 0,
        }
        given_up = failures >= MAX_FAILURES
        if given_up:
            values["status"] = machine.failed if machine.given_up is None else machine.given_up
            values["error"] = {
                "code": "gave_up",
                "message": f"gave up after {failures} tries: {reason}",
            }
        guard = [model.attempt == self.attempt, model.lease_owner == self.owner]
        changed = session.execute(
            updating(machine, self.row_id, guard, values)
        ).scalar_one_or_none()
        if changed is not None and given_up:
            session.add(
                DeadLetter(
                    kind=machine.kind,
                    reference=self.row_id,
                    company_id=self.company_id,
                    reason=reason,
                    payload={"step": self.step, "attempt": self.attempt},
                    history=history,
                )
            )
        return changed


@dataclass(frozen=True)
class Advance:
    """The step is done and the next one may run.

    `in_transaction` joins the transaction that says so.
    """

    values: dict[str, Any] = field(default_factory=dict)
    in_transaction: InTransaction | None = None


@dataclass(frozen=True)
class Finish:
    """The row has ended, in `status`. `in_transaction` joins the transaction that says so.

    `after_commit` runs after the commit, at most once; what it fails at is logged and forgotten.
    """

    status: str
    values: dict[str, Any] = field(default_factory=dict)
    in_transaction: InTransaction | None = None
    after_commit: Callable[[], None] | None = None


@dataclass(frozen=True)
class Repeat:
    """The finding of an earlier step no longer holds: go on from `step` again."""

    step: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """The row waits, in `status`, for something that `in_transaction` makes.

    It joins the transaction that writes the status, and returns what the broker is to
    hear of after the commit.
    """

    status: str
    in_transaction: Callable[[Session, Any], Sequence[Hint]]
    values: dict[str, Any] = field(default_factory=dict)


Outcome = Advance | Finish | Repeat | Pause
Work = Callable[[Any, Lease], Outcome]
