"""What a step of a chain holds while it runs, and how it can end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from database import claims
from database.session import company_session
from database.transitions import Machine

Also = Callable[[Session, Any], None]
# A row that the broker is to hear of after the commit.
Hint = tuple[Machine, Any]


@dataclass(frozen=True)
class Lease:
    """The right to write one row: (row, attempt, owner)."""

    machine: Machine
    company_id: str
    row_id: str
    step: str
    attempt: int
    owner: str

    def claim(self, session: Session) -> Any | None:
        """Take the lease, in the caller's transaction. None: it is not to be had."""
        return claims.claim(session, self.machine, self.row_id, self.step, self.attempt, self.owner)

    def write(self, session: Session, **values: Any) -> Any:
        """Write under the lease, in the caller's transaction. Raises `claims.Lost`."""
        return claims.write(session, self.machine, self.row_id, self.attempt, self.owner, **values)

    def renew(self, **values: Any) -> Any:
        """Write under the lease in a transaction of its own. Raises `claims.Lost`."""
        with company_session(self.company_id) as session:
            return self.write(session, **values)

    def cancel_requested(self) -> bool:
        """Whether somebody wants the row to end. A look only: it may be another's by now."""
        model: Any = self.machine.model
        with company_session(self.company_id) as session:
            return bool(
                session.scalar(
                    select(model.cancel_requested).where(
                        getattr(model, self.machine.key) == self.row_id
                    )
                )
            )


@dataclass(frozen=True)
class Advance:
    """The step is done and the next one may run. `also` joins the transaction that says so."""

    values: dict[str, Any] = field(default_factory=dict)
    also: Also | None = None


@dataclass(frozen=True)
class Finish:
    """The row has ended, in `status`. `also` joins the transaction that says so.

    `then` runs after the commit, at most once; what it fails at is logged and forgotten.
    """

    status: str
    values: dict[str, Any] = field(default_factory=dict)
    also: Also | None = None
    then: Callable[[], None] | None = None


@dataclass(frozen=True)
class Repeat:
    """What an earlier step found no longer holds: go on from `step` again."""

    step: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """The row waits, in `status`, for something that `also` makes in the same transaction.

    `also` returns what the broker is to hear of after the commit.
    """

    status: str
    also: Callable[[Session, Any], Sequence[Hint]]
    values: dict[str, Any] = field(default_factory=dict)


class GivenBack(Exception):
    """The worker leaves in good order: the step goes to another, and no failure is counted."""


Outcome = Advance | Finish | Repeat | Pause
Work = Callable[[Any, Lease], Outcome]
