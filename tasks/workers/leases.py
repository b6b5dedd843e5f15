"""The leases that a worker holds, and how others get them back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import structlog
from sqlalchemy import func
from sqlalchemy.orm import Session

from cyrex.recovery.kinds import end
from cyrex.work.lease import Hint, Lease
from database import claims
from database.transitions import MACHINES

log = structlog.get_logger()


def free_leases(
    session: Session, held: Iterable[Hint], reason: str, counts: bool = True
) -> list[Hint]:
    """Give back the leases of these rows; one that has failed too often ends.

    Returns what the broker is to hear of after the commit.
    """
    hints: list[Hint] = []
    for machine, row in held:
        lease = Lease.held(machine, row)
        changed = lease.release(session, row, reason, counts)
        if changed is None:
            continue
        log.info("lease_freed", kind=machine.kind, owner=lease.owner, status=changed.status)
        if changed.status in machine.terminal:
            hints += end(session, machine, changed)
        else:
            changed.published_at = func.now()
            hints.append((machine, changed))
    return hints


def held_by(session: Session, owner: str) -> Iterator[Hint]:
    """The rows whose leases this worker has."""
    for machine in MACHINES.values():
        for row in claims.owned_by(session, machine, owner):
            yield machine, row
