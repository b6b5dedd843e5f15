"""One way to run a step: claim it, do the work, write the outcome under the lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis
import structlog
from celery.exceptions import Ignore
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from cyrex.errors import UserError
from cyrex.logs import one_line
from cyrex.recovery.kinds import end
from cyrex.work.admission import admit_rows
from cyrex.work.lease import (
    Advance,
    Also,
    Finish,
    GivenBack,
    Hint,
    Lease,
    Outcome,
    Pause,
    Repeat,
    Work,
)
from database import claims
from database.session import company_session
from database.transitions import MACHINES
from tasks.broker import dispatch
from tasks.workers.presence import presence

log = structlog.get_logger()

# The disk, the registry, the database or the broker is away or full.
OUTAGES = (OSError, OperationalError, redis.RedisError)
# With the pauses between them, most of a day; what is away for longer counts as a failure.
MAX_POSTPONEMENTS = 60


def run_step(
    kind: str,
    company_id: str,
    row_id: str,
    step: str,
    attempt: int,
    work: Work,
    on_claim: Also | None = None,
) -> None:
    """Run `work` as the owner of (row, step, attempt).

    `on_claim` joins the transaction in which the row is claimed. Raises `Ignore`, which stops the
    chain, when the claim is lost or the chain does not go on.
    """
    lease = Lease(MACHINES[kind], company_id, row_id, step, attempt, presence().worker_id)
    row, refusal = _claim(lease, on_claim)
    if row is None:
        raise Ignore()
    named = structlog.contextvars.bound_contextvars(**{f"{kind}_id": row_id, "step": step})
    with named, presence().at_work():
        outcome = _work(lease, row, work, refusal)
    if not isinstance(outcome, Advance):
        raise Ignore()


def _claim(lease: Lease, on_claim: Also | None) -> tuple[Any | None, UserError | None]:
    """The claimed row, and why `on_claim` refused it; None: the claim is lost."""
    try:
        with company_session(lease.company_id) as session:
            row = lease.claim(session)
            if row is not None and on_claim is not None:
                on_claim(session, row)
            return row, None
    except UserError as error:
        refusal = error
    # What `on_claim` had written is undone, and with it the claim.
    with company_session(lease.company_id) as session:
        return lease.claim(session), refusal


def _work(lease: Lease, row: Any, work: Work, refusal: UserError | None) -> Outcome | None:
    """Do the work and settle it. None: the lease was lost or given back."""
    try:
        try:
            if refusal is not None:
                raise refusal
            outcome = work(row, lease)
        except UserError as error:
            log.info("step_refused", code=error.code, reason=error.message)
            outcome = Finish(lease.machine.failed, {"error": error.as_json()})
        _settle(lease, row, outcome)
        return outcome
    except claims.Lost as lost:
        log.info("lease_lost", reason=str(lost))
    except GivenBack as reason:
        _give_back(lease, row, str(reason), counts=False)
    except OUTAGES as error:
        # What the step needs is away: nothing is wrong with the row, and hurry would not help.
        log.warning("step_postponed", error=one_line(error))
        given_up = len(row.history) >= MAX_POSTPONEMENTS
        _give_back(lease, row, one_line(error), counts=given_up, wait=True)
    except Exception as error:
        log.exception("step_failed")
        _give_back(lease, row, one_line(error))
    return None


def _settle(lease: Lease, row: Any, outcome: Outcome) -> None:
    """Write the outcome; a row that ends makes room for the company's next."""
    machine = lease.machine
    hints: list[Any] = []
    others: Sequence[Hint] = ()
    with company_session(lease.company_id) as session:
        match outcome:
            case Advance(values, also):
                changed = claims.advance(session, machine, row, lease.owner, **values)
                if also is not None:
                    also(session, changed)
            case Repeat(step, values):
                hints.append(claims.repeat(session, machine, row, lease.owner, step, **values))
            case Pause(status, paused, values):
                changed = claims.pause(session, machine, row, lease.owner, status, **values)
                others = paused(session, changed)
                if machine.admitted:
                    hints += admit_rows(session, machine, lease.company_id)
            case Finish(status, values, also, _):
                changed = claims.finish(session, machine, row, lease.owner, status, **values)
                if also is not None:
                    also(session, changed)
                others = end(session, machine, changed)
                if machine.admitted:
                    hints += admit_rows(session, machine, lease.company_id)
    dispatch.publish(machine, hints)
    dispatch.publish_all(others)
    if isinstance(outcome, Finish) and outcome.then is not None:
        _attempt(outcome.then)


def _attempt(then: Callable[[], None]) -> None:
    """What follows an end that is committed: nothing of the row depends on it any more."""
    try:
        then()
    except Exception as error:
        log.warning("sequel_failed", error=one_line(error))


def _give_back(
    lease: Lease,
    row: Any,
    reason: str,
    counts: bool = True,
    wait: bool = False,
) -> None:
    """Free the step for another try at once, or end the row when it has failed too often."""
    machine = lease.machine
    others: Sequence[Hint] = ()
    try:
        with company_session(lease.company_id) as session:
            changed = claims.release(session, machine, row, lease.owner, reason, counts, wait)
            ended = changed is not None and changed.status in machine.terminal
            if ended:
                others = end(session, machine, changed)
    except SQLAlchemyError as error:
        log.warning("release_postponed", error=one_line(error))
        presence().release_later(machine, row, reason, counts)
        return
    if changed is not None and not ended and not wait:
        dispatch.publish(machine, [changed])
    dispatch.publish_all(others)
