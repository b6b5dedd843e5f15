"""The most unfinished rows of a company; beyond them a request is refused for now.

Unfinished rows wait in Postgres and cost other companies nothing. The limit keeps one company from
filling the disk, and stops a client that repeats itself without end.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cyrex.errors import TooMany
from cyrex.tenants.service import lock_company
from database.transitions import Machine, OpenLimit
from settings import get_settings

# With fewer places left than this, a company's requests are counted one after the other. With more
# they do not wait for each other: no burst is so large that it would pass the limit uncounted.
NEAR = 500


def open_limit(machine: Machine) -> int:
    """At most this many rows of one company have not ended."""
    limit: int = getattr(get_settings(), _stated(machine).setting)
    return limit


def _stated(machine: Machine) -> OpenLimit:
    assert machine.open_limit is not None, f"{machine.kind}: not limited"
    return machine.open_limit


def require_place(session: Session, machine: Machine, company_id: str) -> None:
    """Call before anything is written of a new row. Raises `TooMany`, which names the limit."""
    limit = open_limit(machine)
    # A transaction that makes many rows (the bridge's) counts once while it is far from the limit.
    credit: dict[tuple[str, str], int] = session.info.setdefault("open_places", {})
    mine = machine.kind, company_id
    if credit.get(mine, 0) > 0:
        credit[mine] -= 1
        return
    found = _open(session, machine, company_id, limit)
    credit[mine] = limit - NEAR - found - 1
    if max(0, limit - NEAR) <= found < limit:
        lock_company(session, company_id)
        found = _open(session, machine, company_id, limit)
    if found >= limit:
        stated = _stated(machine)
        name, noun = stated.setting.upper(), stated.noun
        raise TooMany(
            f"too_many_open_{noun}",
            f"{company_id} has {limit} {noun} that have not ended, and may have no more"
            f" ({name}); try again when some have ended",
            details={"limit": name, "value": limit},
            retry_after_seconds=stated.retry_after_seconds,
        )


def _open(session: Session, machine: Machine, company_id: str, limit: int) -> int:
    """The number of unfinished rows, counted no further than the limit."""
    model: Any = machine.model
    unfinished = [state.name for state in machine.states if state.to]
    rows = (
        select(model.status)
        .where(model.company_id == company_id, model.status.in_(unfinished))
        .limit(limit)
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(rows)) or 0
